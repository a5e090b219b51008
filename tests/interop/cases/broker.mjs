// Connections outlive their broker; peers come back to it.
import assert from "node:assert/strict";
import { Broker } from "../lib/broker.mjs";
import { BROKERS, OFFERERS, assertAlive, link, test, withPair, world } from "../lib/world.mjs";

export default function broker() {
  for (const kind of BROKERS) {
    test(`the ${kind} broker restarts while connections live`, async () => {
      const own = await Broker.start(kind);
      try {
        await withPair(own, async (pair) => {
          const all = [];
          for (const offerer of OFFERERS) all.push(await link(pair, offerer, { reliable: true }));
          await own.kill();
          await Promise.all([pair.browser, pair.remote].map(async (peer) => {
            await peer.error("network");
            await peer.event("disconnected");
          }));
          for (const ends of all) await assertAlive(ends, "without a broker");

          await own.startAgain();
          for (const peer of [pair.browser, pair.remote]) {
            await peer.command({ reconnect: true });
            assert.equal((await peer.event("open")).id, peer.id);
          }
          for (const ends of all) await assertAlive(ends, "after the restart");
          for (const offerer of OFFERERS) await assertAlive(await link(pair, offerer), "new connection");
        });
      } finally {
        await own.stop();
      }
    });

    test(`disconnect and reconnect: ${kind} broker`, () =>
      withPair(world.brokers[kind], async (pair) => {
        const ends = await link(pair, "remote", { reliable: true });
        for (const peer of [pair.remote, pair.browser]) {
          await peer.command({ disconnect: true });
          await peer.event("disconnected");
          await assertAlive(ends, "without the broker");
          await peer.command({ connect: "anyone" });
          await peer.error("disconnected");
          await peer.command({ reconnect: true });
          assert.equal((await peer.event("open")).id, peer.id);
        }
        for (const offerer of OFFERERS) await assertAlive(await link(pair, offerer), "after reconnect");
        await assertAlive(ends, "the old connection");
      }));
  }
}
