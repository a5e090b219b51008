// What the pages say is there: links lead somewhere, options are those of the command, and the
// session of the JSON lines runs as it is written. Needs the command, as PEER_BIN or in target/release.
//
//     node tests/docs/pages.mjs
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const PEER = process.env.PEER_BIN ?? join(ROOT, "target/release/peer");
/** How long a line of the command may take, in milliseconds. */
const LINE_TIMEOUT = 30_000;

const checks = [links, options, session];
const outcomes = [];
for (const check of checks) outcomes.push(await check());
process.exit(outcomes.every(Boolean) ? 0 : 1);

function told(what, faults) {
  for (const fault of faults) console.log(`MISSED: ${fault}`);
  if (faults.length === 0) console.log(`ok: ${what}`);
  return faults.length === 0;
}

/** Every relative link of a page names a file of the repository, and a heading where it names one. */
function links() {
  const pages = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"], { cwd: ROOT, encoding: "utf8" });
  const faults = [];
  let count = 0;
  for (const page of pages.split("\0").filter((page) => page && existsSync(join(ROOT, page)))) {
    const text = readFileSync(join(ROOT, page), "utf8").replace(/^```[\s\S]*?^```/gm, "");
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g), ...text.matchAll(/^\[[^\]]+\]: (\S+)$/gm)].map(([, target]) => target);
    for (const target of targets.filter((target) => !/^(https?:|mailto:)/.test(target))) {
      count += 1;
      const [path, heading] = target.split("#");
      const file = path === "" ? join(ROOT, page) : resolve(ROOT, dirname(page), path);
      if (!existsSync(file)) faults.push(`${page}: ${target} is not there`);
      else if (heading && !headings(file).has(heading)) faults.push(`${page}: ${target}: no such heading`);
    }
  }
  if (count === 0) faults.push("no page has a link");
  return told(`${count} links of the pages`, faults);
}

function headings(file) {
  const titles = readFileSync(file, "utf8").matchAll(/^#+ (.*)$/gm);
  return new Set([...titles].map(([, title]) => title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")));
}

/** Every command has a row in command.md, and every option that the page names is one of the command's. */
function options() {
  const page = readFileSync(join(ROOT, "peer-net/docs/command.md"), "utf8");
  const help = (...words) => execFileSync(PEER, [...words, "--help"], { encoding: "utf8" });
  const commands = [...help().matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name).filter((name) => name !== "help");
  const all = commands.map((name) => help(name)).join("\n");
  const faults = commands.filter((name) => !page.includes(`| \`peer ${name}`)).map((name) => `command.md lacks peer ${name}`);
  const named = new Set([...page.matchAll(/--[a-z][a-z_-]+/g)].map(([name]) => name));
  named.delete("--help");
  for (const name of named) if (!new RegExp(`${name}(?![a-z_-])`).test(all)) faults.push(`command.md names ${name}, which no command has`);
  if (commands.length === 0 || named.size === 0) faults.push("command.md has no commands or options");
  return told(`${commands.length} commands and ${named.size} options of command.md`, faults);
}

/** The session of json-lines.md, line by line, at a broker and a `bob` of its own. */
async function session() {
  const page = readFileSync(join(ROOT, "peer-net/docs/json-lines.md"), "utf8");
  const [, text] = page.match(/^```console\n([\s\S]*?)^```/m) ?? [];
  if (text === undefined) return told("", ["json-lines.md has no session"]);
  const [command, ...lines] = text.trimEnd().split("\n");
  const running = [];
  const start = (...words) => {
    const child = spawn(PEER, words, { stdio: ["pipe", "pipe", "inherit"] });
    running.push(child);
    const out = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return { say: (line) => child.stdin.write(`${line}\n`), hear: () => within(out.next()) };
  };
  const faults = [];
  try {
    const broker = start("broker", "--port", "0", "--host", "127.0.0.1");
    const [url] = (await broker.hear()).match(/http:\S+/) ?? [];
    const alone = ["--broker", url, "--ice-server", "none", "--include-loopback", "--log", "error"];
    const bob = start("listen", "--echo", "--json", "--id", "bob", ...alone);
    await bob.hear();
    const words = command.replace(/^\$ peer /, "").replace("http://localhost:9000", url).split(" ");
    const alice = start(...words, ...alone.slice(2));
    let name = "dc_1x…";
    for (const line of lines) {
      const [mark, rest] = [line[0], line.slice(2)];
      if (mark === ">") {
        alice.say(rest.replaceAll("dc_1x…", name));
        continue;
      }
      const heard = await alice.hear();
      if (rest.includes('"event":"connection"')) name = JSON.parse(heard).connection;
      const wanted = rest.replaceAll("dc_1x…", name);
      if (heard !== wanted) faults.push(`json-lines.md says ${wanted}\n        the command ${heard}`);
    }
  } catch (error) {
    faults.push(`the session of json-lines.md: ${error.message}`);
  } finally {
    for (const child of running) child.kill();
  }
  return told(`${lines.length} lines of the session of json-lines.md`, faults);
}

async function within(next) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("a line did not come")), LINE_TIMEOUT);
  });
  const { value, done } = await Promise.race([next, late]).finally(() => clearTimeout(timer));
  if (done) throw new Error("the command ended early");
  return value;
}
