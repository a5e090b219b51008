// Large messages, compared by checksum, and many small ones.
import assert from "node:assert/strict";
import { BROKERS, OFFERERS, SERIALIZATIONS, assertAlive, assertCarries, link, test, withPair, world } from "../lib/world.mjs";
import { PATIENCE } from "../lib/events.mjs";
import { canonical, pattern } from "../lib/values.mjs";

const MEGABYTE = 1_000_000;

export default function bulk() {
  for (const offerer of OFFERERS) {
    for (const reliable of [true, false]) {
      const how = `${offerer} offers, reliable ${reliable}`;
      test(`1 MB and 20 MB: binary, ${how}`, () =>
        withPair(world.brokers[BROKERS[0]], async (pair) => {
          const ends = await link(pair, offerer, { serialization: "binary", reliable });
          for (const size of [MEGABYTE, 20 * MEGABYTE]) {
            await whole(ends.browser, ends.remote, pattern(size, size));
            await whole(ends.remote, ends.browser, pattern(size, size + 1));
          }
          await assertAlive(ends);
        }));

      test(`200 KB: raw, ${how}`, () =>
        withPair(world.brokers[BROKERS[0]], async (pair) => {
          const ends = await link(pair, offerer, { serialization: "raw", reliable });
          for (const value of [pattern(200_000, 5), "ü".repeat(100_000)]) {
            await whole(ends.browser, ends.remote, value);
            await whole(ends.remote, ends.browser, value);
          }
          await assertAlive(ends);
        }));
    }
  }

  test("several 1 MB messages at once: binary, both ways", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      for (const reliable of [true, false]) {
        const ends = await link(pair, "browser", { serialization: "binary", reliable });
        const cases = Array.from({ length: 6 }, (_, i) => ({ send: pattern(MEGABYTE, i + 10) }));
        await Promise.all([
          assertCarries(ends.browser, ends.remote, cases, { ordered: reliable }),
          assertCarries(ends.remote, ends.browser, cases, { ordered: reliable }),
        ]);
      }
    }));

  for (const serialization of SERIALIZATIONS) {
    test(`1,000 small messages: ${serialization}`, () =>
      withPair(world.brokers[BROKERS[0]], async (pair) => {
        const cases = Array.from({ length: 1000 }, (_, i) => ({ send: `message ${i}` }));
        for (const reliable of [true, false]) {
          const ends = await link(pair, reliable ? "browser" : "remote", { serialization, reliable });
          await assertCarries(ends.browser, ends.remote, cases, { ordered: reliable });
          await assertCarries(ends.remote, ends.browser, cases, { ordered: reliable });
        }
      }));
  }

  test("70,000 lines of 6 bytes both ways at once, in order", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      const ends = await link(pair, "remote", { serialization: "raw", reliable: true });
      const lines = Array.from({ length: 70_000 }, (_, i) => ({ send: String(i).padStart(6, "0") }));
      const ordered = { ordered: true };
      await Promise.all([
        assertCarries(ends.browser, ends.remote, lines, ordered),
        assertCarries(ends.remote, ends.browser, lines, ordered),
      ]);
    }));

  test("250,000 messages of 1 byte from the page, in order, and their echoes", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      const ends = await link(pair, "browser", { serialization: "raw", reliable: true });
      await pair.browser.command({ echoes: 250_000, connection: ends.browser.connection });
      const all = ({ event }) => event === "echoed";
      const { wrong } = await pair.browser.next("the last echo", all, 5 * PATIENCE);
      assert.equal(wrong, null, "the first that is not what was sent");
    }, { remote: { echo: true } }));

  test("a json message that is too big is refused at the sender, and the connection goes on", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      for (const offerer of OFFERERS) {
        const ends = await link(pair, offerer, { serialization: "json", reliable: true });
        for (const end of [ends.browser, ends.remote]) {
          await end.send("x".repeat(17_000));
          await end.error("message-too-big");
        }
        await assertAlive(ends);
      }
    }));

  test("the largest json message arrives", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      const ends = await link(pair, "remote", { serialization: "json" });
      const largest = "y".repeat(16_297); // 16299 bytes with its quotes; from 16300 on it is too big
      await whole(ends.browser, ends.remote, largest);
      await whole(ends.remote, ends.browser, largest);
    }));
}

async function whole(from, to, value) {
  await from.send(value);
  assert.deepEqual(canonical(await to.data()), canonical(value));
}
