// What the firmware draws at a boot, read from its UART: QEMU alone, no gateway and no browser.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { before, test } from "node:test";
import { RANDOM, ROOT } from "../../examples/firmware/lab.mjs";

const PATIENCE = Number(process.env.INTEROP_PATIENCE ?? 60_000); // ends a hang, decides nothing
const HELLO = 0x01; // its type; a version and a nonce follow
const NONCE = [2, 18];

let firmware;
before(() => {
  firmware = execFileSync(join(ROOT, "examples/firmware/build"), { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
});

/** A machine whose clock counts instructions: nothing about it differs from boot to boot. */
class Machine {
  log = "";
  #uart = Buffer.alloc(0);
  #changed = () => {};

  /** Ends with the test `t`, however that ends. */
  static async start(t, options) {
    const machine = new Machine();
    t.after(() => machine.#end());
    const directory = mkdtempSync(join(tmpdir(), "boot-"));
    const [uart, qmp] = [join(directory, "uart"), join(directory, "qmp")];
    machine.directory = directory;
    machine.qmp = qmp;
    machine.server = createServer((wire) => wire.on("data", (bytes) => machine.#heard(bytes)).on("error", () => {}));
    machine.server.listen(uart);
    await once(machine.server, "listening");
    const fixed = ["-M", "mps2-an386", "-display", "none", "-icount", "shift=0,sleep=off"];
    const faces = ["-monitor", "none", "-qmp", `unix:${qmp},server=on,wait=off`, "-serial", `unix:${uart}`, "-serial", "stdio"];
    machine.child = spawn("qemu-system-arm", [...fixed, ...faces, ...options, "-kernel", firmware], { stdio: ["pipe", "pipe", "inherit"] });
    machine.child.stdout.setEncoding("utf8").on("data", (text) => {
      machine.log += text;
      machine.#changed();
    });
    return machine;
  }

  #heard(bytes) {
    this.#uart = Buffer.concat([this.#uart, bytes]);
    this.#changed();
  }

  /** The nonce of the first hello from now on. */
  nonce() {
    return this.#until(() => frames(this.#uart).find((body) => body[0] === HELLO)?.subarray(...NONCE).toString("hex"), "a hello");
  }

  says(pattern) {
    return this.#until(() => this.log.match(pattern)?.[0], `${pattern}`);
  }

  /** Resets the machine while it stands still, and forgets what it wrote before. */
  async reset() {
    const qmp = createConnection(this.qmp);
    const lines = createInterface({ input: qmp })[Symbol.asyncIterator]();
    await lines.next(); // the greeting
    for (const command of ["qmp_capabilities", "stop", "system_reset", "cont"]) {
      if (command === "cont") [this.#uart, this.log] = [Buffer.alloc(0), ""];
      qmp.write(JSON.stringify({ execute: command }));
      let answer;
      do answer = JSON.parse((await lines.next()).value);
      while (!("return" in answer)); // events come between
    }
    qmp.destroy();
  }

  async #end() {
    this.child.kill("SIGKILL");
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "close");
    this.server.close();
    rmSync(this.directory, { recursive: true });
  }

  #until(find, what) {
    return new Promise((resolve, reject) => {
      const patience = setTimeout(() => reject(new Error(`waited for ${what}\n${this.log}`)), PATIENCE);
      this.#changed = () => {
        const found = find();
        if (found === undefined) return;
        clearTimeout(patience);
        this.#changed = () => {};
        resolve(found);
      };
      this.#changed();
    });
  }
}

/** The bodies of the frames that are whole: between two zeros, with the stuffing of COBS taken out. */
function frames(bytes) {
  const bodies = [];
  for (let from = 0, to; (to = bytes.indexOf(0, from)) >= 0; from = to + 1) {
    const body = [];
    for (let at = from; at < to; at += bytes[at]) {
      body.push(...bytes.subarray(at + 1, Math.min(at + bytes[at], to)));
      if (bytes[at] !== 0xff) body.push(0);
    }
    bodies.push(Buffer.from(body));
  }
  return bodies;
}

test("two boots and a reset draw three different nonces, on a machine that differs in nothing", async (t) => {
  const machine = await Machine.start(t, RANDOM);
  const first = await machine.nonce();
  await machine.reset();
  const afterReset = await machine.nonce();

  const again = await Machine.start(t, RANDOM);
  const second = await again.nonce();

  const nonces = [first, afterReset, second];
  assert.ok(nonces.every((nonce) => /^[0-9a-f]{32}$/.test(nonce)), `${nonces}`);
  assert.equal(new Set(nonces).size, 3, `${nonces}`);
});

test("without the host's random device it says so, says no hello, and stops", async (t) => {
  const machine = await Machine.start(t, []);
  const said = await machine.says(/firmware: no random numbers.*\n/);
  assert.match(said, /-semihosting-config enable=on/);
  assert.equal(machine.log.match(/firmware: started/g).length, 1);
  assert.ok(!/link: |app: /.test(machine.log), machine.log);
});
