// PeerJS of 2014 (0.3.14) and 2023 (1.4.7) in today's browser: what still works with 1.5.5 works with us.
// They cannot write characters outside the BMP, and they write JSON as text frames.
import assert from "node:assert/strict";
import { BROKERS, BROWSER, OFFERERS, REMOTE, link, test, withPair, world } from "../lib/world.mjs";
import { bytes, canonical, pattern } from "../lib/values.mjs";

const COMMON = ["", "plain", "héllo, 中文", "x".repeat(700), 0, 1, -1, 300, -70000, 1.5, true, false, [], {}, { a: [1, { b: null }], "ключ": 2.5 }];
const BINARY = [...COMMON, bytes(1, 2, 3), pattern(16297), { nested: bytes(4) }, pattern(300_000)];
const RAW = ["", "plain", "héllo, 中文 🌍", bytes(1, 2, 3), pattern(50_000)];

export default function old() {
  for (const version of ["0.3.14", "1.4.7"]) {
    if (version === "0.3.14" && BROWSER === "firefox") {
      cannot(version);
      continue;
    }
    for (const broker of BROKERS) {
      for (const [serialization, values] of Object.entries({ binary: BINARY, "binary-utf8": BINARY, raw: RAW })) {
        if (version === "1.4.7" && serialization === "raw") continue; // it knows no raw
        for (const offerer of OFFERERS) {
          test(`PeerJS ${version}: ${serialization}, ${offerer} offers, ${broker} broker`, () =>
            withPair(world.brokers[broker], async (pair) => {
              for (const reliable of [true, false]) {
                const ends = await link(pair, offerer, { serialization, reliable, metadata: { version } });
                await carriesOneByOne(ends.browser, ends.remote, values);
                await carriesOneByOne(ends.remote, ends.browser, values);
                await ends[reliable ? "browser" : "remote"].close();
                await ends[reliable ? "remote" : "browser"].closed();
              }
            }, { browser: { version } }));
        }
      }
    }

    test(`PeerJS ${version}: json, in text frames`, { skip: notReference() }, () =>
      withPair(world.brokers[BROKERS[0]], async (pair) => {
        const ends = await link(pair, "browser", { serialization: "json", reliable: true });
        await carriesOneByOne(ends.browser, ends.remote, [...COMMON, "z".repeat(40_000)]);
        await carriesOneByOne(ends.remote, ends.browser, COMMON);
      }, { browser: { version } }));
  }
}

function cannot(version) {
  test(`PeerJS ${version} finds no SCTP in a Firefox without the old dataChannel.reliable, and connects to nobody`, () =>
    withPair(world.brokers[BROKERS[0]], async ({ browser, remote }) => {
      assert.equal(await browser.page.evaluate(() => Boolean(util.supports.sctp)), false);
      await assert.rejects(browser.command({ connect: remote.id, reliable: true }), /Reliable is not a constructor/);
    }, { browser: { version } }));
}

async function carriesOneByOne(from, to, values) {
  for (const value of values) {
    await from.send(value);
    assert.deepEqual(canonical(await to.data()), canonical(value));
  }
}

function notReference() {
  return REMOTE === "rust" ? false : "PeerJS 1.5 throws on text frames";
}
