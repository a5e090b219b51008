// A page that sends garbage over its channel, and a client that sends garbage through the broker: the remote goes on.
import WebSocket from "ws";
import { freshId } from "../lib/peers.mjs";
import { BROKERS, REMOTE, assertAlive, link, test, withPair, world } from "../lib/world.mjs";
import { bytes } from "../lib/values.mjs";

const hex = (text) => ({ $bytes: Buffer.from(text.replaceAll(" ", ""), "hex").toString("base64") });

// PeerJS makes the huge arrays these announce, which would end the reference page.
const LYING_COUNTS = [hex("dd 00 ff ff ff"), hex("df ff ff ff ff"), hex("db ff ff ff ff 00"), hex("d9 ff ff ff ff 61")];

const BAD_FRAMES = {
  binary: [
    bytes(), "a text frame", "", // no frame of this mode is text
    hex("c1"), hex("d4 01"), hex("93 01"), hex("92 01"), hex("de"), hex("ce 00"), hex("bf 61"), hex("af 00"), hex("cb 00"),
    ...(REMOTE === "rust" ? LYING_COUNTS : []),
    { $bytes: Buffer.alloc(REMOTE === "rust" ? 16_000 : 1000, 0x91).toString("base64") }, // nested, and then nothing
    hex("b4 ff fe c0 80"), hex("81 01 02 03"), hex("82 b1 61 01 b1 61 02"),
    chunk(0, 0, 1, "00"), chunk(9, 5, 2, "00"), chunk(9, 0, 0, "00"), chunk(10, 0, 4294967295, "b161"), chunk(-1, -1, -1, ""),
    hex("81 ba 5f5f7065657244617461 05"), hex("81 ba 5f5f7065657244617461 c3"), hex("81 ba 5f5f7065657244617461 b1 78"),
    hex("82 ba 5f5f7065657244617461 01 b4 64617461 c0"),
  ],
  json: [bytes(), bytes(0xff, 0xfe), "not json", "", "{", "[1,2", "null", hex("22 ff 22"), "[".repeat(10_000)].concat(
    ['{"a":', "1e999", '"\\ud800"', "truefalse", '{"__peerData":{"type":"no"}}', '{"__peerData":1,"n":-1,"total":0}'].map(text),
  ),
  raw: [],
};

function text(string) {
  return { $bytes: Buffer.from(string).toString("base64") };
}

/** A chunk header with any numbers in it. */
function chunk(id, n, total, dataHex) {
  const int = (value) => {
    const made = Buffer.alloc(9);
    made[0] = 0xcb;
    made.writeDoubleBE(value, 1);
    return Number.isInteger(value) && value >= 0 && value < 128 ? Buffer.of(value) : made;
  };
  const data = Buffer.from(dataHex, "hex");
  const key = (name) => Buffer.concat([Buffer.of(0xb0 + name.length), Buffer.from(name)]);
  const parts = [
    Buffer.of(0x84), key("__peerData"), int(id), key("n"), int(n), key("data"), Buffer.of(0xa0 + data.length), data, key("total"), int(total),
  ];
  return { $bytes: Buffer.concat(parts).toString("base64") };
}

export default function hostile() {
  for (const [serialization, frames] of Object.entries(BAD_FRAMES).filter(([, list]) => list.length > 0)) {
    for (const reliable of [true, false]) {
      test(`malformed frames: ${serialization}, reliable ${reliable}`, () =>
        withPair(world.brokers[BROKERS[0]], async (pair) => {
          const ends = await link(pair, reliable ? "browser" : "remote", { serialization, reliable });
          for (const frame of frames) {
            await pair.browser.command({ frame, connection: ends.browser.connection });
          }
          const marker = freshId("marker");
          await ends.browser.send(marker);
          // Garbage that still decodes to something is delivered, as PeerJS does; the marker comes after or among it.
          const isMarker = (event) => event.event === "data" && event.data === marker;
          await pair.remote.next("the marker after the garbage", isMarker);
          await ends.remote.send(marker);
          await pair.browser.next("the answer after the garbage", isMarker);
          await assertAlive(await link(pair, "remote", { serialization }), "a new connection");
        }, { pageErrors: true }));
    }
  }

  test("10,000 chunks that never complete", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      const ends = await link(pair, "browser", { serialization: "binary", reliable: true });
      for (let batch = 0; batch < 10; batch += 1) {
        await pair.browser.page.evaluate(({ connection, from }) => {
          const target = agent.connections.get(connection);
          for (let id = from; id < from + 1000; id += 1) {
            target._send({ __peerData: id, n: 0, data: new Uint8Array(1000), total: 3 }, true);
          }
        }, { connection: ends.browser.connection, from: 1 + batch * 1000 });
      }
      await assertAlive(ends, "after the flood");
    }));

  test("malformed signalling through the broker", async () => {
    for (const kind of BROKERS) {
      const broker = world.brokers[kind];
      await withPair(broker, async (pair) => {
        const socket = await rawClient(broker);
        const dst = pair.remote.id;
        const sdp = { type: "offer", sdp: "v=0\r\n" };
        const offer = { sdp, type: "data", connectionId: "dc_hostile", label: "l", serialization: "binary", reliable: false };
        const payloads = [
          null, 5, "text", [], {}, { ...offer, sdp: undefined }, { ...offer, sdp: "v=0" }, { ...offer, sdp: { type: "offer" } },
          { ...offer, connectionId: undefined }, { ...offer, connectionId: "x".repeat(5000) }, { ...offer, type: "media" },
          { ...offer, type: "fax" }, { ...offer, serialization: "none", connectionId: "dc_none" },
          { ...offer, connectionId: "dc_big", sdp: { type: "offer", sdp: "a=".padEnd(200_000, "x") } },
          { ...offer, connectionId: "dc_meta", metadata: "m".repeat(300_000) },
        ];
        for (const type of ["OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE", "OPEN", "ERROR", "ID-TAKEN", "nonsense", 7, null]) {
          for (const payload of payloads) socket.send(JSON.stringify({ type, payload, dst }));
        }
        for (let i = 0; i < 500; i += 1) {
          const payload = { candidate: { candidate: "candidate:garbage", sdpMid: "0" }, type: "data", connectionId: `dc_early${i}` };
          socket.send(JSON.stringify({ type: "CANDIDATE", payload, dst }));
        }
        for (const offerer of ["browser", "remote"]) await assertAlive(await link(pair, offerer), "after the garbage");
        socket.close();
      }, { pageErrors: true });
    }
  });
}

async function rawClient(broker) {
  const id = freshId("hostile");
  const socket = new WebSocket(`ws://127.0.0.1:${broker.port}/peerjs?key=peerjs&id=${id}&token=t&version=1.5.5`);
  await new Promise((resolve, reject) => {
    socket.once("message", resolve);
    socket.once("error", reject);
  });
  return socket;
}

