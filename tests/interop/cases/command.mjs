// The command as people use it: lines in, lines out, exit codes. A page is at the other end.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { PEER_BIN } from "../lib/broker.mjs";
import { EventLog } from "../lib/events.mjs";
import { RustPeer, atBroker, freshId } from "../lib/peers.mjs";
import { Child } from "../lib/process.mjs";
import { BROKERS, REMOTE, assertAlive, link, startBrowser, startRemote, test, world } from "../lib/world.mjs";
import { patternBytes } from "../lib/values.mjs";

const run = promisify(execFile);

export default function command() {
  const options = { skip: REMOTE === "rust" ? false : "about our command only" };
  const broker = () => world.brokers[BROKERS[0]];

  test("peer listen --echo: lines on stdout, lines from stdin, everything comes back", options, async () => {
    const id = freshId("lines");
    const lines = start("peer listen", ["listen", "--echo", "--id", id, ...atBroker(broker())]);
    const browser = await (await startBrowser(broker())).opened();
    await connectWhenThere(browser, id);
    const { connection } = await browser.event("connection-open");
    const send = (value) => browser.command({ send: value, connection });
    await send("hello 🌍");
    assert.equal((await browser.event("data")).data, "hello 🌍");
    await lines.line("hello 🌍");
    await send({ nested: [1, 2.5, true] });
    assert.deepEqual((await browser.event("data")).data, { nested: [1, 2.5, true] });
    lines.child.write("typed at the terminal");
    assert.equal((await browser.event("data")).data, "typed at the terminal");
    assert.equal(await lines.child.stop("SIGINT").then(({ signal }) => signal), null);
    await browser.event("connection-close");
    await browser.end();
  });

  test("peer connect: label, metadata and serialization reach the page; the end of stdin ends it", options, async () => {
    const browser = await (await startBrowser(broker())).opened();
    const how = ["--label", "from a script", "--metadata", '{"unit":"°C"}', "--serialization", "json", "--reliable"];
    const lines = start("peer connect", ["connect", browser.id, ...how, ...atBroker(broker())]);
    const announced = await browser.event("connection");
    assert.equal(announced.label, "from a script");
    assert.deepEqual(announced.metadata, { unit: "°C" });
    assert.equal(announced.serialization, "json");
    assert.equal(announced.reliable, true);
    lines.child.write("first line");
    assert.equal((await browser.event("data")).data, "first line");
    await browser.command({ send: "an answer ✓", connection: announced.connection });
    await lines.line("an answer ✓");
    lines.child.write("last line");
    lines.child.child.stdin.end();
    assert.equal((await browser.event("data")).data, "last line");
    await browser.event("connection-close");
    assert.equal((await lines.child.exited).code, 0);
    await browser.end();
  });

  test("peer connect --json", options, async () => {
    const browser = await (await startBrowser(broker())).opened();
    const remote = RustPeer.spawn("rust connect --json", ["connect", browser.id, "--json", "--label", "js", ...atBroker(broker())]);
    const { connection } = await remote.event("connection-open");
    await remote.command({ send: { from: "rust" }, connection });
    assert.deepEqual((await browser.event("data")).data, { from: "rust" });
    await remote.command({ close: connection, flush: true });
    await browser.event("connection-close");
    await remote.end();
    await browser.end();
  });

  test("--json: a line that is no command is an error, and the session goes on", options, async () => {
    const browser = await (await startBrowser(broker())).opened();
    const remote = await (await startRemote(broker())).opened();
    for (const line of ["not json", "5", "null", "[]", "{}", '{"send":1,"connection":"dc_none"}', '{"close":"dc_none"}', '{"connect":7}', '{"unknown":1}']) {
      remote.process.write(line);
      await remote.event("error");
    }
    await assertAlive(await link({ browser, remote }, "remote"));
    await remote.end();
    await browser.end();
  });

  test("peer connect to nobody: a sentence and a documented exit code", options, async () => {
    const gone = await run(PEER_BIN, ["connect", "nobody-is-here", ...atBroker(broker())]).catch((error) => error);
    assert.equal(gone.code, 4);
    assert.match(gone.stderr, /nobody-is-here/);
  });

  for (const kind of BROKERS) {
    test(`peer send and peer receive: ${kind} broker`, options, async () => {
      const folder = mkdtempSync(join(tmpdir(), "peer-interop-"));
      const [id, content] = [freshId("files"), patternBytes({ length: 3_000_000, seed: 8 })];
      writeFileSync(join(folder, "picture.bin"), content);
      const into = join(folder, "in");
      mkdirSync(into);
      const receiver = start("peer receive", ["receive", "--id", id, ...atBroker(world.brokers[kind])], { cwd: into });
      await online(world.brokers[kind], id);
      await run(PEER_BIN, ["send", id, join(folder, "picture.bin"), ...atBroker(world.brokers[kind])]);
      await receiver.child.stop("SIGINT");
      assert.deepEqual(readdirSync(into), ["picture.bin"]);
      assert.ok(readFileSync(join(into, "picture.bin")).equals(content), "the file is the same");
      rmSync(folder, { recursive: true });
    });
  }
}

function start(name, args, options) {
  const log = new EventLog(name);
  const child = new Child(name, PEER_BIN, args, (line) => log.push({ line }), options);
  child.exited.then(({ code }) => log.end(`exit code ${code}\n${child.stderr}`));
  return { child, line: (wanted) => log.next(`the line ${wanted}`, ({ line }) => line === wanted) };
}

/** A process that prints no line when it is open: the broker knows when. */
async function online(broker, id) {
  for (;;) {
    const peers = await (await fetch(`http://127.0.0.1:${broker.port}/peerjs/peers`)).json();
    if (peers.includes(id)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function connectWhenThere(browser, id) {
  await online(world.brokers[BROKERS[0]], id);
  await browser.command({ connect: id, reliable: true });
}
