// Every kind of value, both ways, for every serialization, order guarantee, offerer and broker.
import { describe } from "node:test";
import { BROKERS, OFFERERS, REMOTE, SERIALIZATIONS, assertCarries, link, test, wireName, withPair, world } from "../lib/world.mjs";
import { bytes, pattern, typed } from "../lib/values.mjs";
import assert from "node:assert/strict";

const same = (...values) => values.map((send) => ({ send }));

const STRINGS = same(
  "", "a", "fifteen bytes..", "sixteen bytes...", "héllo, café", "中文字符", "🌍", "👩‍👩‍👧‍👦 family, 🏴‍☠️ flag, 🇨🇭", "mixed é 中 🦀 z",
  "x".repeat(600), "🦀".repeat(700), "line\nbreak\ttab\u0000nul \"quoted\" \\", "\u{10FFFF}",
);
const NUMBERS = same(
  0, 1, -1, 5, 127, 128, 255, 256, -31, -32, -33, -128, -129, 300, 32767, 32768, 65535, 65536, -32768, -32769, 2147483647,
  2147483648, -2147483648, 4294967295, 4294967296, 9007199254740991, 1.5, -1.5, 0.1, -0.1, 3.141592653589793, 1e-300, -0.8333333333333334, 123456789.125,
);
// PeerJS's decoder rounds int64 below -2^31, so these only count between it and us.
const BELOW_INT32 = REMOTE === "rust" ? same(-2147483649, -4294967296, -9007199254740991) : [];
const NESTED = same(
  true, false, [], {}, [[]], [{}], { a: [] }, [null], { nothing: null }, [1, [2, [3, [4, ["deep"]]]]],
  { a: [1, { b: null, c: "x" }], d: { e: 1.25 } },
  { "ключ": 1, "键": "值", "🔑": ["🔒", { "ñ": true }], "": "empty key", "with space": 0 },
  Array.from({ length: 300 }, (_, i) => i * 251), Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, `v${i}`])),
);
const BYTES = same(
  bytes(), bytes(0), bytes(1, 2, 3), pattern(15), pattern(16), pattern(255), pattern(65535 >> 2), pattern(16297), pattern(16298),
);
const NESTED_BYTES = same({ data: bytes(9, 8, 7), list: [bytes(), bytes(255)] }, [pattern(20000, 3), "after", 7]);
const VIEWS = same(
  typed("Uint8Array", 1, 2, 255), typed("Int16Array", -1, 2), typed("Float32Array", 1.5, -2.25), typed("Float64Array", Math.PI),
  typed("Uint32Array"), { nested: typed("Uint16Array", 1, 65535) },
);

/** What a browser sends and what must arrive, where that differs from what Rust may send. */
const FROM_BROWSER = {
  binary: [...VIEWS, { send: [{ $undefined: 1 }, 1], expect: [null, 1] }],
  json: [
    { send: typed("Uint8Array", 1, 2), expect: { 0: 1, 1: 2 } }, { send: [{ $number: "NaN" }, { $undefined: 1 }], expect: [null, null] },
    { send: { $date: 0 }, expect: "1970-01-01T00:00:00.000Z" }, { send: { gone: { $undefined: 1 }, kept: 1 }, expect: { kept: 1 } },
  ],
  raw: [
    ...VIEWS.slice(0, 5), { send: 5, expect: "5" }, { send: true, expect: "true" }, { send: [1, 2], expect: "1,2" },
    { send: {}, expect: "[object Object]" },
  ],
};

const BOTH_WAYS = {
  binary: [...STRINGS, ...NUMBERS, ...BELOW_INT32, ...NESTED, ...BYTES, ...NESTED_BYTES, ...same("é".repeat(30000))],
  json: [...STRINGS, ...NUMBERS, ...NESTED],
  raw: [...STRINGS, ...BYTES, ...same("é".repeat(30000))],
};

export default function values() {
  for (const broker of BROKERS) {
    for (const serialization of SERIALIZATIONS) {
      const wire = wireName(serialization);
      test(`values: ${serialization} through the ${broker} broker`, async (t) => {
        await withPair(world.brokers[broker], async (pair) => {
          for (const offerer of OFFERERS) {
            for (const reliable of [true, false]) {
              await t.test(`${offerer} offers, reliable ${reliable}`, async () => {
                const ends = await link(pair, offerer, { serialization, reliable });
                for (const end of Object.values(ends)) {
                  assert.equal(wireName(end.announced.serialization), wire);
                  assert.equal(end.announced.reliable, reliable);
                }
                const ordered = { ordered: reliable };
                await assertCarries(ends.browser, ends.remote, [...BOTH_WAYS[wire], ...FROM_BROWSER[wire]], ordered);
                await assertCarries(ends.remote, ends.browser, BOTH_WAYS[wire], ordered);
              });
            }
          }
        });
      });
    }
  }

  describe("echo: what was decoded comes back the same", () => {
    for (const serialization of SERIALIZATIONS) {
      test(serialization, async () => {
        const broker = world.brokers[BROKERS[0]];
        await withPair(broker, async (pair) => {
          for (const reliable of [true, false]) {
            const ends = await link(pair, "browser", { serialization, reliable });
            const cases = BOTH_WAYS[wireName(serialization)];
            await assertCarries(ends.browser, ends.browser, cases, { ordered: reliable });
          }
        }, { remote: { echo: true } });
      });
    }
  });

  test("a Blob arrives as bytes", () =>
    withPair(world.brokers[BROKERS[0]], async (pair) => {
      const ends = await link(pair, "browser");
      await ends.browser.send({ $blob: "blob ✓" });
      assert.deepEqual(await ends.remote.data(), { $bytes: Buffer.from("blob ✓").toString("base64") });
    }));
}
