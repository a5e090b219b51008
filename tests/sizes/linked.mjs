// What is linked into an image of what peer-core must not have: places where it can panic, large frames, large moves, data.
//
//     node linked.mjs panics IMAGE [proved]     `proved`: the optimizer has looked into everything, so none is allowed
//     node linked.mjs moves IMAGE
//     node linked.mjs data IMAGE
//
// An image is a linked ELF file whose panic handler looks at the location, else the compiler leaves the locations out.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Bytes of stack that one function of peer-core may take, and bytes that anyone may move at once. */
const FRAME_MAX = 1024;
const MOVE_MAX = 1024;
/** What takes more of the stack, or moves more, in a session of `rtc`: so much, and why. */
const LARGER = [
  [/Dtls<.*>::begin$/, 1792, "a handshake is made and moved to where it stays, before anything deep is called"],
  [/KeyBlock>::of::<.*|Dtls<.*>::(?:protected|send_alert)$/, 1536, "AES-GCM's prepared keys, for one record of a handshake"],
  [/Live>::detach$/, 2048, "an association leaves its memory, on machines that exchange it"],
  [/RustCrypto<.* as .*Crypto>::(?:sign|verify|agree)$|rustcrypto::crates::\w+$/, 1536, "the arithmetic of RustCrypto's crates, inlined"],
];
/** What the programs here do by themselves: they make sessions and move them to where they stay. */
const PROGRAM = /^<?(?:cost|session)::/;
/** Bytes of initialized data: they cost RAM and flash. */
const DATA_MAX = 64;

/** Where peer-core may panic: the file, what stands there, and why no input leads to it. */
const ALLOWED = [
  [/^bytes\.rs$/, /^(copy_from_slice|copy_within|rotate_left)\b/, "the lines before compare the lengths, and at opt-level 3 the compiler proves that they suffice"],
  [/^(sync|link)\//, /^(\{|async\b)/, "only where an executor polls a future again that is done"],
  [/^(sync\/mod|link\/pump)\.rs$/, /^borrow_mut\(\)/, "only where a callback calls back, which its documentation forbids"],
];
/** The crate `log` keeps locations, too. */
const LOG_LINE = /^(debug|warning)!\(/;
const SOURCES = join(dirname(fileURLToPath(import.meta.url)), "../../peer-core/src");

const [what, image, proved] = process.argv.slice(2);
const checks = { panics, moves, data };
if (!checks[what] || !image) {
  console.error("usage: linked.mjs panics|moves|data IMAGE [proved]");
  process.exit(2);
}
process.exit(checks[what]() ? 0 : 1);

/** Whether peer-core panics nowhere but where it is allowed. Names the rest of the image's, too. */
function panics() {
  const [reasons, others] = [new Map(), new Map()];
  let good = true;
  const all = [...locations(readFileSync(image))].sort((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
  if (all.length === 0 && !proved) throw new Error(`${image} has no locations: does its panic handler look at them?`);
  for (const { path, line, column } of all) {
    const own = path.match(/(?:^|\/)peer-core\/src\/(.+)$/)?.[1];
    if (!own) {
      const [, name, file] = path.match(/([\w.-]+)\/src\/((?:(?!\/src\/).)+)\.rs$/) ?? [, "others", path];
      add(others, name, file);
      continue;
    }
    const source = existsSync(join(SOURCES, own)) ? readFileSync(join(SOURCES, own), "utf8").split("\n") : [];
    const there = source[line - 1]?.slice(column - 1) ?? "";
    if (LOG_LINE.test(there)) continue;
    const allowed = proved ? undefined : ALLOWED.find(([file, text]) => file.test(own) && text.test(there));
    if (allowed) {
      add(reasons, allowed[2], `${own}:${line}`);
    } else {
      good = false;
      console.log(`PANIC: peer-core/src/${own}:${line}: \`${there.trim()}\``);
    }
  }
  for (const [reason, places] of reasons) console.log(`- peer-core: ${[...places].join(", ")}: ${reason}`);
  for (const [name, files] of others) console.log(`- ${name}: ${[...files].join(", ")}`);
  return good;
}

function add(map, key, value) {
  map.set(key, (map.get(key) ?? new Set()).add(value));
}

/** Every `core::panic::Location` in the image: pointer to and length of the path, line, column. */
function* locations(file) {
  const memory = sections(file).filter((section) => section.allocated && section.bytes);
  const seen = new Set();
  const at = (address, len) => {
    const section = memory.find(({ start, bytes }) => address >= start && address + len <= start + bytes.length);
    return section?.bytes.subarray(address - section.start, address - section.start + len);
  };
  for (const { bytes } of memory) {
    for (let offset = 0; offset + 16 <= bytes.length; offset += 4) {
      const [pointer, len, line, column] = [0, 4, 8, 12].map((more) => bytes.readUInt32LE(offset + more));
      if (len < 4 || len > 500 || line === 0 || line > 100_000 || column === 0 || column > 1_000) continue;
      // Newer compilers count a zero at the end.
      const path = at(pointer, len)?.toString().replace(/\0$/, "");
      if (!path?.endsWith(".rs") || /[^\x20-\x7e]/.test(path) || seen.has(`${path}:${line}:${column}`)) continue;
      seen.add(`${path}:${line}:${column}`);
      yield { path, line, column };
    }
  }
}

/** Whether no function of peer-core has a large frame, and no one moves much at once. */
function moves() {
  const { stdout, status } = spawnSync("arm-none-eabi-objdump", ["-d", "-C", "--no-show-raw-insn", image], { encoding: "utf8", maxBuffer: 1 << 30 });
  if (status !== 0) throw new Error("arm-none-eabi-objdump failed");
  let good = true;
  let [name, frame, functions, largest, len, moved] = ["", 0, 0, 0, 0, 0];
  const larger = new Map();
  const exempt = (bytes) => {
    const found = LARGER.find(([names, most]) => names.test(name) && bytes <= most);
    if (found) larger.set(found[2], Math.max(larger.get(found[2]) ?? 0, bytes));
    return found !== undefined || PROGRAM.test(name);
  };
  const done = () => {
    if (!/\bpeer_core::/.test(name) || /^<?(?:core|smoltcp|heapless)::/.test(name)) return;
    functions += 1;
    if (frame > FRAME_MAX && exempt(frame)) return;
    largest = Math.max(largest, frame);
    if (frame <= FRAME_MAX) return;
    console.log(`LARGE FRAME: ${frame} B: ${name}`);
    good = false;
  };
  for (const line of stdout.split("\n")) {
    const head = line.match(/^[0-9a-f]+ <(.*)>:$/);
    if (head) {
      done();
      [name, frame, len] = [head[1], 0, 0];
      continue;
    }
    const code = line.match(/^ *[0-9a-f]+:\t(\S+)\t?(.*)$/);
    if (!code) continue;
    const [, mnemonic, operands] = code;
    const constant = Number(operands.match(/#(\d+)/)?.[1] ?? 0);
    if (/^subw?(\.w)?$/.test(mnemonic) && /^sp,/.test(operands)) {
      // A frame beyond 4 KB is subtracted from a register: as large as can be.
      frame += constant || Infinity;
    } else if (/^mov/.test(mnemonic) && /^r2, #/.test(operands)) {
      len = constant;
    } else if (/^bl?x?(\.\w)?$/.test(mnemonic) && /mem(cpy|move)/.test(operands) && len > 0) {
      const large = len > MOVE_MAX && !exempt(len);
      if (len <= MOVE_MAX || large) moved = Math.max(moved, len);
      if (large) {
        console.log(`LARGE MOVE: ${len} B: ${name}`);
        good = false;
      }
      len = 0;
    } else if (/^(bl|r2,)/.test(mnemonic) || /^r2,/.test(operands)) {
      len = 0;
    }
  }
  done();
  if (functions === 0) throw new Error(`${image} has no function of peer-core`);
  for (const [reason, bytes] of larger) console.log(`- up to ${bytes} B: ${reason}`);
  console.log(`largest frame of ${functions} functions of peer-core: ${largest} of ${FRAME_MAX} B; largest move: ${moved} of ${MOVE_MAX} B`);
  return good;
}

/** Whether what is not all zero at the start is next to nothing. */
function data() {
  const bytes = sections(readFileSync(image)).find(({ name }) => name === ".data")?.size ?? 0;
  console.log(`${bytes <= DATA_MAX ? "ok" : "MISSED"}: .data: ${bytes} of ${DATA_MAX} B`);
  return bytes <= DATA_MAX;
}

/** The sections of an ELF file of 32 bits. */
function sections(file) {
  const table = file.readUInt32LE(0x20);
  const [each, count, names] = [0x2e, 0x30, 0x32].map((at) => file.readUInt16LE(at));
  const [NOBITS, ALLOC] = [8, 2];
  const list = Array.from({ length: count }, (_, index) => {
    const [name, type, flags, start, offset, size] = [0, 4, 8, 12, 16, 20].map((at) => file.readUInt32LE(table + index * each + at));
    const bytes = type === NOBITS ? undefined : file.subarray(offset, offset + size);
    return { name, allocated: (flags & ALLOC) !== 0, start, size, bytes };
  });
  const texts = list[names].bytes;
  return list.map((section) => ({ ...section, name: texts.subarray(section.name, texts.indexOf(0, section.name)).toString() }));
}
