// What a user notices first, in little time: connected and closed from either side, every serialization, a page that
// is left and loaded again. For the stack and the browser that not everything is tried with.
import { BROKERS, OFFERERS, SERIALIZATIONS, assertAlive, assertCarries, link, startBrowser, test, wireName, withPair, world } from "../lib/world.mjs";
import { pattern } from "../lib/values.mjs";

const PLAIN = ["", "héllo, 中文 🌍", 0, -70000, 1.5, true, [], { a: [1, { b: null }] }];
const VALUES = {
  binary: [...PLAIN, pattern(16_298), pattern(300_000)],
  json: PLAIN,
  raw: ["", "héllo, 中文 🌍", pattern(1), pattern(50_000)],
};

export default function first() {
  const broker = () => world.brokers[BROKERS[0]];

  for (const offerer of OFFERERS) {
    for (const serialization of SERIALIZATIONS) {
      test(`${serialization}: ${offerer} offers, each end closes`, () =>
        withPair(broker(), async (pair) => {
          for (const [closer, other] of [["browser", "remote"], ["remote", "browser"]]) {
            for (const reliable of [true, false]) {
              const ends = await link(pair, offerer, { serialization, reliable });
              const cases = VALUES[wireName(serialization)].map((send) => ({ send }));
              await assertCarries(ends.browser, ends.remote, cases, { ordered: reliable });
              await assertCarries(ends.remote, ends.browser, cases, { ordered: reliable });
              await ends[closer].close();
              await Promise.all([ends[other].closed(), ends[closer].closed()]);
            }
          }
        }));
    }

    test(`the page is left and loaded again: ${offerer} offers`, () =>
      withPair(broker(), async (pair) => {
        const ends = await link(pair, offerer);
        await assertAlive(ends);
        await pair.browser.page.goto(world.pages.url("away"));
        await ends.remote.closed();
        const again = await (await startBrowser(broker())).opened();
        try {
          await assertAlive(await link({ ...pair, browser: again }, offerer));
        } finally {
          await again.end();
        }
      }));
  }
}
