// Metadata, labels, several connections, ids: what travels in the offer.
import assert from "node:assert/strict";
import { BROKERS, OFFERERS, REMOTE, assertAlive, link, startBrowser, startRemote, test, withPair, world } from "../lib/world.mjs";

const METADATA = [
  undefined, "text 🎛", 0, 7.5, false, [], {}, { nested: { list: [1, "zwei", null, { drei: 3 }], "🔑": "Ωmega" } },
  { long: "m".repeat(1500) },
];

export default function connect() {
  for (const broker of BROKERS) {
    for (const offerer of OFFERERS) {
      test(`metadata arrives: ${offerer} offers, ${broker} broker`, () =>
        withPair(world.brokers[broker], async (pair) => {
          for (const metadata of METADATA) {
            const ends = await link(pair, offerer, { metadata });
            const arrived = ends[offerer === "remote" ? "browser" : "remote"].announced;
            assert.deepEqual(arrived.metadata, metadata ?? null);
            assert.equal(arrived.peer, pair[offerer].id);
            await ends[offerer].close();
          }
        }));
    }
  }

  test("labels arrive as given, and the default label is the connection id", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      for (const offerer of OFFERERS) {
        for (const label of ["x", "sensor/temperature", "Ünïcode 🏷", "with \"quotes\" and \\"]) {
          await assertAlive(await link(pair, offerer, { label: `${offerer} ${label}` }));
        }
        const [from, to] = offerer === "remote" ? [pair.remote, pair.browser] : [pair.browser, pair.remote];
        await from.command({ connect: to.id });
        const arrived = await to.event("connection");
        assert.match(arrived.label, /^dc_[a-z0-9]+$/);
        const announced = await from.event("connection");
        assert.equal(announced.label, arrived.label);
      }
    }));

  for (const broker of BROKERS) {
    test(`several connections between one pair: ${broker} broker`, () =>
      withPair(world.brokers[broker], async (pair) => {
        const wanted = [
          ["remote", { serialization: "binary", reliable: true }], ["browser", { serialization: "json" }],
          ["remote", { serialization: "raw" }], ["browser", { serialization: "binary" }],
        ];
        const all = await Promise.all(wanted.map(([offerer, options]) => link(pair, offerer, options)));
        assert.equal(new Set(all.map((ends) => ends.remote.connection)).size, wanted.length);
        await Promise.all(all.map((ends, i) => assertAlive(ends, `connection ${i}`)));
        await all[1].browser.close();
        await all[1].remote.closed();
        for (const at of [0, 2, 3]) await assertAlive(all[at], "the others go on");
      }));
  }

  test("the broker gives an id to who brings none", async () => {
    for (const kind of BROKERS) {
      const broker = world.brokers[kind];
      const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
      await withPair(broker, async (pair) => {
        assert.match(pair.browser.id, uuid);
        assert.match(pair.remote.id, uuid);
        await assertAlive(await link(pair, "remote"));
      }, { remote: { id: null }, browser: { id: null } });
    }
  });

  test("one remote serves several browsers", async () => {
    const broker = world.brokers[BROKERS[0]];
    const remote = await (await startRemote(broker)).opened();
    const browsers = await Promise.all(Array.from({ length: 4 }, async () => (await startBrowser(broker)).opened()));
    try {
      const all = await Promise.all(
        browsers.map((browser, i) => link({ browser, remote }, i % 2 ? "remote" : "browser", { serialization: "binary" })),
      );
      await Promise.all(all.map((ends, i) => assertAlive(ends, `browser ${i}`)));
    } finally {
      await Promise.all([...browsers, remote].map((peer) => peer.end()));
    }
  });

  test("null, which PeerJS cannot deliver, is refused and the connection goes on", { skip: notOurs() }, () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      for (const serialization of ["binary", "json"]) {
        const ends = await link(pair, "browser", { serialization, reliable: true });
        await ends.remote.send(null);
        const matches = (event) => event.event === "error" && event.connection === ends.remote.connection;
        await pair.remote.next("an error about null", matches);
        await assertAlive(ends);
      }
    }));
}

function notOurs() {
  return REMOTE === "rust" ? false : "PeerJS itself sends it, and throws at the receiver";
}
