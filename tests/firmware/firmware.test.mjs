// The firmware, in QEMU, with PeerJS 1.5.5 in Chromium: link, gateway and broker are the real ones.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { PEER_BIN } from "../interop/lib/broker.mjs";
import { HERE, launchChromium, servePages } from "../interop/lib/chromium.mjs";
import { startAndMatch } from "../interop/lib/process.mjs";
import { Lab, ROOT } from "../../examples/firmware/lab.mjs";
import { BLOB, connect, PATIENCE } from "./page.mjs";

const SERIALIZATIONS = ["binary", "binary-utf8", "json", "raw"];

let lab, pages, chromium;
before(async () => {
  [pages, chromium] = await Promise.all([servePages(), launchChromium()]);
  lab = await Lab.start();
});
after(async () => {
  await chromium?.close();
  pages?.close();
  await lab?.stop();
});

const connected = (serialization, reliable = true, at = lab) => connect({ chromium, pages, at }, serialization, reliable);

for (const serialization of SERIALIZATIONS) {
  test(`${serialization}: readings, commands, 100 KB`, async () => {
    const device = await connected(serialization);
    const reading = await device.next("reading");
    assert.ok(reading.millidegrees > 10_000 && reading.millidegrees < 40_000, JSON.stringify(reading));
    const later = await device.next("reading");
    assert.ok(later.number > reading.number);

    await device.send({ interval: 100 });
    assert.equal((await device.next("interval")).ms, 100);
    await device.send({ interval: 1 });
    assert.match((await device.next("error")).message, /50 to 10000/);
    await device.send({ led: 1, on: true });
    assert.deepEqual(await device.next("led"), { type: "led", led: 1, on: true });
    await device.send({ led: 1, on: false });
    assert.equal((await device.next("led")).on, false);
    await device.send({ text: "grüße 🌱" });
    assert.equal((await device.next("text")).text, "grüße 🌱");

    await device.send({ blob: true });
    assert.equal((await device.next("blob")).bytes, BLOB);
    const history = await device.history();
    const done = await device.next("done");
    assert.deepEqual(history, { bytes: BLOB, checksum: done.checksum, start: "line 0000: 23.000 degrees......\n" });

    const from = Date.now();
    for (let n = 0; n < 20; n++) {
      await device.send({ text: `${n}` });
      await device.next("text");
    }
    console.log(`${serialization}: a round trip takes ${((Date.now() - from) / 20).toFixed(1)} ms, the driver of the browser included`);
    await device.end();
  });
}

test("what is no command is answered, and harms nothing", async () => {
  const device = await connected("json");
  for (const nonsense of ["text", 7, [1, 2], { led: "x" }, { text: "x".repeat(65) }, { led: 2, on: true }]) {
    await device.sendAsIs(nonsense);
    await device.next("error");
  }
  // Longer than the link's window: dropped by the gateway, and told to the engine.
  await device.sendAsIs("x".repeat(10_000));
  await device.send({ text: "alive" });
  assert.equal((await device.next("text")).text, "alive");
  await device.end();
});

test("what peer-core says is in the log", async () => {
  const since = lab.log.length;
  const device = await connected("json");
  await device.signal({ type: "ANSWER", payload: {} });
  await lab.logged(/^peer_core\S*: dropped a signal/, since);
  await device.end();
});

test("a page that floods does not keep others from their readings", async () => {
  const [rude, polite] = [await connected("binary"), await connected("json")];
  await rude.page.evaluate(() => {
    for (let n = 0; n < 2_000; n++) connection.send({ text: `flood ${n}`, blob: true });
  });
  await polite.send({ text: "me too" });
  assert.equal((await polite.next("text")).text, "me too");
  await polite.next("reading");
  await rude.end();
  await polite.end();
});

test("pages that vanish without a word make room for others", async () => {
  const since = lab.log.length;
  const gone = await Promise.all(SERIALIZATIONS.map((serialization) => connected(serialization)));
  for (const device of gone) await device.page.close();
  // ICE notices: 15 s.
  await lab.logged(/page \d is gone/, since);
  const device = await connected("binary");
  await device.next("reading");
  await device.end();
});

test("noise on the wire is repaired, and counted", async () => {
  const since = lab.log.length;
  const device = await connected("binary");
  await device.send({ blob: true });
  for (let n = 0; n < 20; n++) {
    lab.wire.noise(Buffer.from([n, 0, 255 - n, 0, 1, 2, 3]));
    await device.send({ text: `noise ${n}` });
  }
  const history = await device.history();
  assert.equal(history.checksum, (await device.next("done")).checksum);
  await device.end();
  await lab.logged(/^state: .* [1-9]\d* garbage/, since);
});

test("all of that took at most 8 KB of stack", async () => {
  const state = await lab.logged(/^state: /, lab.log.length);
  console.log(state);
  const [, used, there] = state.match(/stack (\d+) of (\d+) B/).map(Number);
  assert.ok(used <= 8192, `${used} bytes of stack`);
  assert.ok(there >= 8192);
});

test("it comes back when gateway, broker or itself are started anew", async () => {
  for (const who of ["gateway", "broker", "qemu"]) {
    const since = lab.log.length;
    await lab[who].stop("SIGKILL");
    if (who === "gateway") await lab.startGateway();
    if (who === "broker") await lab.startBroker();
    if (who === "qemu") lab.startFirmware();
    await lab.logged(/app: open as/, since);
    const device = await connected("binary");
    await device.next("reading");
    await device.end();
  }
});

test("the page of the demonstration shows readings, switches LEDs and fetches the history", async () => {
  const env = { ...process.env, PEER_BIN, PEERJS_FILE: join(HERE, "node_modules/peerjs/dist/peerjs.min.js") };
  const run = join(ROOT, "examples/firmware/run");
  const { child, found } = await startAndMatch("run", process.execPath, [run, "--port", "0"], /(http:\/\/127\S+) in a browser/, { env });
  const page = await chromium.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(found[1]);
  await page.waitForSelector("#status[data-state=open]");
  await page.waitForFunction(() => Number(document.querySelector("#readings").dataset.count) >= 3);
  await page.click("#led-1");
  await page.waitForSelector("#log >> text=LED 1 is on");
  await page.fill("#message", "good morning");
  await page.click("#send");
  await page.waitForSelector("#log >> text=good morning");
  const download = page.waitForEvent("download");
  await page.click("#blob");
  assert.equal((await download).suggestedFilename(), "history.txt");
  await page.waitForSelector("#log >> text=is right");
  await page.close();
  assert.equal((await child.stop("SIGTERM")).code, 0);
});

test("with `defmt` in place of `log` it does the same, and frames go to the third UART", async () => {
  const other = await Lab.start(undefined, ["--no-default-features", "--features", "defmt"]);
  try {
    const device = await connected("json", true, other);
    await device.send({ text: "framed" });
    assert.equal((await device.next("text")).text, "framed");
    await device.signal({ type: "ANSWER", payload: {} });
    while (statSync(other.frames).size === 0) {
      await device.send({ text: "and" });
      await device.next("text");
    }
    assert.ok(other.log.every((line) => !line.startsWith("peer_core")), "no lines of `log`");
    await device.end();
  } finally {
    await other.stop();
  }
});
