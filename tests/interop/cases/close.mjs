// Every way to end a connection, from either side: the other side reports `connection-close`, and so does its own.
import assert from "node:assert/strict";
import { BROKERS, OFFERERS, REMOTE, assertAlive, link, startBrowser, startRemote, test, withPair, world } from "../lib/world.mjs";

const broker = () => world.brokers[BROKERS[0]];
const onlyRust = REMOTE === "rust" ? false : "PeerJS in Chromium never notices a peer that falls silent";

export default function close() {
  for (const offerer of OFFERERS) {
    for (const closer of ["browser", "remote"]) {
      const other = closer === "browser" ? "remote" : "browser";
      for (const serialization of ["binary", "json", "raw"]) {
        test(`close by the ${closer}: ${serialization}, ${offerer} offers`, () =>
          withPair(broker(), async (pair) => {
            const ends = await link(pair, offerer, { serialization, reliable: true });
            await assertAlive(ends);
            await ends[closer].close();
            await Promise.all([ends[other].closed(), ends[closer].closed()]);
            await assertAlive(await link(pair, other, { serialization }));
          }));
      }

      for (const serialization of ["binary", "json"]) {
        test(`close with flush by the ${closer}: ${serialization}, ${offerer} offers`, () =>
          withPair(broker(), async (pair) => {
            const ends = await link(pair, offerer, { serialization, reliable: true });
            const last = serialization === "binary" ? "z".repeat(400_000) : "z".repeat(10_000);
            await ends[closer].sendAll(["first", last]);
            await ends[closer].close({ flush: true });
            assert.deepEqual(await ends[other].several(2), ["first", last], "what was sent before the flush");
            await Promise.all([ends[other].closed(), ends[closer].closed()]);
            await assertAlive(await link(pair, closer, { serialization }));
          }));
      }

      test(`destroy by the ${closer}: ${offerer} offers`, () =>
        withPair(broker(), async (pair) => {
          const all = [await link(pair, offerer)];
          // PeerJS's own destroy() skips every second connection to the same peer.
          if (pair[closer].kind === "rust") all.push(await link(pair, offerer, { serialization: "json" }));
          await pair[closer].command({ destroy: true });
          await Promise.all(all.map((ends) => ends[other].closed()));
          await pair[closer].event("close");
        }));
    }

    test(`navigation away: ${offerer} offers`, () =>
      withPair(broker(), async (pair) => {
        const ends = await link(pair, offerer);
        await assertAlive(ends);
        await pair.browser.page.goto(world.pages.url("away"));
        await ends.remote.closed();
      }));

    test(`dataChannel.close(): ${offerer} offers`, () =>
      withPair(broker(), async (pair) => {
        const ends = await link(pair, offerer);
        await assertAlive(ends);
        await pair.browser.command({ closeChannel: ends.browser.connection });
        await Promise.all([ends.remote.closed(), ends.browser.closed()]);
        await assertAlive(await link(pair, offerer));
      }));

    test(`tab close, where the browser says nothing: ${offerer} offers`, { skip: onlyRust }, () =>
      withPair(broker(), async (pair) => {
        const ends = await link(pair, offerer);
        await assertAlive(ends);
        await pair.browser.page.close({ runBeforeUnload: false });
        await ends.remote.closed(120_000);
      }, { pageErrors: true }));

    for (const signal of ["SIGTERM", "SIGINT"]) {
      test(`the process gets ${signal}: ${offerer} offers`, { skip: noProcess() }, () =>
        withPair(broker(), async (pair) => {
          const ends = await link(pair, offerer);
          await assertAlive(ends);
          pair.remote.process.signal(signal);
          await ends.browser.closed();
          const { code, signal: killed } = await pair.remote.exit();
          assert.equal(killed, null, "it ends by itself");
          assert.notEqual(code, 101, "it panicked");
        }));
    }
  }

  test("flush on a raw connection closes nothing at PeerJS's side, and arrives as its text", () =>
    withPair(broker(), async (pair) => {
      const ends = await link(pair, "browser", { serialization: "raw", reliable: true });
      await ends.browser.close({ flush: true });
      assert.equal(await ends.remote.data(), "[object Object]");
      await assertAlive(ends);
    }));

  test("after kill -9 the page still works with a new remote", { skip: noProcess() }, async () => {
    const browser = await (await startBrowser(broker())).opened();
    const first = await (await startRemote(broker())).opened();
    await assertAlive(await link({ browser, remote: first }, "remote"));
    first.process.signal("SIGKILL");
    await first.exit();
    const second = await (await startRemote(broker(), { id: first.id })).opened();
    await assertAlive(await link({ browser, remote: second }, "browser"));
    await Promise.all([browser.end(), second.end()]);
  });
}

function noProcess() {
  return REMOTE === "rust" ? false : "the reference remote is a page, not a process";
}
