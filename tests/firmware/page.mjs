// A page that talks to the firmware, for the tests.
import { PEER_ID } from "../../examples/firmware/lab.mjs";

/** Bytes of the firmware's history. */
export const BLOB = 102_400;
/** Ends a hang, decides nothing. */
export const PATIENCE = Number(process.env.INTEROP_PATIENCE ?? 60_000);

/** Where a page waits in vain, what everybody said last tells more than the page. */
function explained(promise, at) {
  return promise.catch((error) => {
    throw new Error(`${error.message}\n${at.tail()}`);
  });
}

/** A page with PeerJS that is connected to the firmware of a lab. */
export async function connect({ chromium, pages, at }, serialization, reliable = true) {
  const page = await chromium.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(pages.url("1.5.5"));
  const opened = page.evaluate(
    ({ id, port, serialization, reliable, patience }) =>
      new Promise((resolve, reject) => {
        setTimeout(reject, patience, new Error("the connection did not open"));
        window.got = []; // messages, unread
        window.raw = serialization === "raw";
        window.peer = new Peer({ host: "127.0.0.1", port, path: "/", config: { iceServers: [] } });
        peer.on("error", reject);
        peer.on("open", () => {
          window.connection = peer.connect(id, { serialization, reliable });
          connection.on("error", reject);
          connection.on("open", resolve);
          connection.on("close", () => (window.closed = true));
          connection.on("data", (data) => got.push(raw && typeof data === "string" ? JSON.parse(data) : data));
        });
      }),
    { id: PEER_ID, port: at.brokerPort, serialization, reliable, patience: PATIENCE },
  );
  await explained(opened, at);
  return {
    page,
    send: (value) => page.evaluate((value) => connection.send(raw ? JSON.stringify(value) : value), value),
    /** A signal to the firmware, through the broker. */
    signal: (signal) => page.evaluate(([id, signal]) => peer.socket.send({ ...signal, dst: id }), [PEER_ID, signal]),
    sendAsIs: (value) => page.evaluate((value) => connection.send(value), value),
    /** Takes the first message of this type. */
    async next(type) {
      const taken = page.waitForFunction(
        (type) => {
          const at = got.findIndex((message) => message.type === type);
          return at >= 0 && { message: got.splice(at, 1)[0] };
        },
        type,
        { timeout: PATIENCE, polling: 20 },
      );
      const handle = await explained(taken, at);
      return (await handle.jsonValue()).message;
    },
    /** The history, however it came: how many bytes, and their checksum. */
    async history() {
      const whole = page.waitForFunction(
        (whole) => {
          window.blob ??= new Uint8Array(whole);
          window.came ??= 0;
          for (const message of got.filter((message) => message.type === "part" || message instanceof ArrayBuffer || ArrayBuffer.isView(message))) {
            got.splice(got.indexOf(message), 1);
            if (message.type === "part") {
              blob.set(new TextEncoder().encode(message.text), message.at);
              came += message.text.length;
              continue;
            }
            const bytes = message instanceof ArrayBuffer ? new Uint8Array(message) : message;
            if (!raw) blob.set(bytes);
            else blob.set(bytes.subarray(4), new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
            came += bytes.length - (raw ? 4 : 0);
          }
          return came >= whole;
        },
        BLOB,
        { timeout: PATIENCE, polling: 50 },
      );
      await explained(whole, at);
      return page.evaluate(() => ({
        bytes: came,
        checksum: blob.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0,
        start: new TextDecoder().decode(blob.subarray(0, 32)),
      }));
    },
    /** Sends so many bytes as one message, and returns their checksum. */
    upload: (length) =>
      page.evaluate((length) => {
        const bytes = Uint8Array.from({ length }, (_, at) => (at * at) >> 3);
        connection.send(bytes);
        return bytes.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
      }, length),
    /** Says goodbye: the firmware has room for four, and a page that vanishes is missed only after 15 s. */
    async end() {
      const since = at.log.length;
      await page.evaluate(() => peer.destroy());
      await page.close();
      await at.logged(/page \d is gone/, since);
    },
  };
}
