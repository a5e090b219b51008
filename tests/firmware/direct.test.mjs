// The firmware with an Ethernet of its own, in QEMU, with PeerJS 1.5.5 in Chromium: there is no gateway.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { PEER_BIN } from "../interop/lib/broker.mjs";
import { HERE, launchChromium, servePages } from "../interop/lib/chromium.mjs";
import { startAndMatch } from "../interop/lib/process.mjs";
import { DirectLab, PEER_ID, ROOT } from "../../examples/firmware/lab.mjs";
import { BLOB, connect, PATIENCE } from "./page.mjs";

const SERIALIZATIONS = ["binary", "binary-utf8", "json", "raw"];
/** Bytes of RAM that the stack may take. */
const STACK_MAX = 20_480;

let lab, pages, chromium;
before(async () => {
  [pages, chromium] = await Promise.all([servePages(), launchChromium()]);
  lab = await DirectLab.start();
});
after(async () => {
  await chromium?.close();
  pages?.close();
  await lab?.stop();
});

const connected = (serialization, reliable = true) => connect({ chromium, pages, at: lab }, serialization, reliable);

for (const serialization of SERIALIZATIONS) {
  for (const reliable of [true, false]) {
    test(`${serialization}, reliable: ${reliable}: readings, commands, 100 KB`, async () => {
      const from = Date.now();
      const device = await connected(serialization, reliable);
      console.log(`open after ${Date.now() - from} ms, the page and its broker included`);
      const reading = await device.next("reading");
      assert.ok(reading.millidegrees > 10_000 && reading.millidegrees < 40_000, JSON.stringify(reading));
      await device.send({ led: 1, on: true });
      assert.deepEqual(await device.next("led"), { type: "led", led: 1, on: true });
      await device.send({ interval: 1 });
      assert.match((await device.next("error")).message, /50 to 10000/);
      await device.send({ text: "grüße 🌱" });
      assert.equal((await device.next("text")).text, "grüße 🌱");

      await device.send({ blob: true });
      assert.equal((await device.next("blob")).bytes, BLOB);
      const history = await device.history();
      const done = await device.next("done");
      assert.deepEqual(history, { bytes: BLOB, checksum: done.checksum, start: "line 0000: 23.000 degrees......\n" });
      await device.end();
    });
  }
}

for (const serialization of ["binary", "raw"]) {
  test(`${serialization}: 100 KB are checked as they come`, async () => {
    const device = await connected(serialization);
    const from = Date.now();
    const checksum = await device.upload(BLOB);
    assert.deepEqual(await device.next("upload"), { type: "upload", bytes: BLOB, checksum });
    console.log(`100 KB up in ${Date.now() - from} ms`);
    await device.send({ text: "and on" });
    assert.equal((await device.next("text")).text, "and on");
    await device.end();
  });
}

test("the device connects to a page by its id", async () => {
  const [asking, called] = [await connected("json"), await chromium.newPage()];
  await called.goto(pages.url("1.5.5"));
  const id = await called.evaluate(
    (port) =>
      new Promise((resolve, reject) => {
        window.got = [];
        window.peer = new Peer({ host: "127.0.0.1", port, path: "/", config: { iceServers: [] } });
        peer.on("error", reject);
        peer.on("open", resolve);
        peer.on("connection", (connection) => {
          window.connection = connection;
          connection.on("open", () => connection.send({ text: "who is it" }));
          connection.on("data", (data) => got.push(data));
        });
      }),
    lab.brokerPort,
  );
  await asking.send({ call: id });
  await asking.next("call");
  const heard = (type) => called.waitForFunction((type) => got.some((it) => it.type === type), type, { timeout: PATIENCE });
  await heard("reading");
  await heard("text");
  assert.equal(await called.evaluate(() => connection.peer), PEER_ID);
  const since = lab.log.length;
  await called.evaluate(() => peer.destroy());
  await lab.logged(/page \d is gone/, since);
  await called.close();
  await asking.end();
});

test("four pages at once, and one after another", async () => {
  for (let round = 0; round < 2; round++) {
    const all = await Promise.all(SERIALIZATIONS.map((serialization) => connected(serialization)));
    for (const [n, device] of all.entries()) {
      await device.send({ text: `page ${n}` });
      assert.equal((await device.next("text")).text, `page ${n}`);
      await device.next("reading");
    }
    for (const device of all) await device.end();
  }
});

test("what is no command is answered, and strangers' datagrams harm nothing", async () => {
  const device = await connected("json");
  const stranger = createSocket("udp4");
  for (let n = 0; n < 500; n++) {
    const bytes = randomBytes(20 + (n % 1_400));
    bytes[0] = [0, 1, 22, 23, 64, 200][n % 6];
    await new Promise((resolve) => stranger.send(bytes, lab.udpPort, lab.address, resolve));
    if (n % 50 > 0) continue;
    await device.sendAsIs(`nonsense ${n}`);
    await device.next("error");
  }
  stranger.close();
  await device.send({ text: "alive" });
  assert.equal((await device.next("text")).text, "alive");
  await device.end();
  const state = await lab.logged(/^state: .* [1-9]\d* datagrams of nobody's/, 0);
  assert.match(state, / 0 bad signals/);
});

test("it comes back when the broker or itself is started anew", async () => {
  for (const who of ["broker", "qemu"]) {
    const since = lab.log.length;
    await lab[who].stop("SIGKILL");
    if (who === "broker") await lab.startBroker();
    if (who === "qemu") lab.startFirmware();
    await lab.logged(/app: open as/, since);
    const device = await connected("binary");
    await device.next("reading");
    await device.end();
  }
});

test("its stack is as small as it is said to be", async () => {
  const device = await connected("binary");
  await device.next("reading");
  const state = await lab.logged(/^state: /, lab.log.length);
  console.log(state);
  const [, used, there] = state.match(/stack (\d+) of (\d+) B/).map(Number);
  assert.ok(used <= STACK_MAX && used < there, state);
  await device.end();
});

test("the page of the demonstration shows readings, switches LEDs and uploads", async () => {
  const env = { ...process.env, PEER_BIN, PEERJS_FILE: join(HERE, "node_modules/peerjs/dist/peerjs.min.js") };
  const run = join(ROOT, "examples/firmware/run");
  const { child, found } = await startAndMatch("run", process.execPath, [run, "--direct", "--port", "0"], /(http:\/\/127\S+) in a browser/, { env });
  const page = await chromium.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(found[1]);
  await page.waitForSelector("#status[data-state=open]");
  await page.waitForFunction(() => Number(document.querySelector("#readings").dataset.count) >= 3);
  await page.click("#led-1");
  await page.waitForSelector("#log >> text=LED 1 is on");
  await page.click("#upload");
  await page.waitForSelector("#log >> text=all of it arrived");
  await page.close();
  assert.equal((await child.stop("SIGTERM")).code, 0);
});
