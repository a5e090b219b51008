// The errors PeerJS names, on whichever side they belong.
import assert from "node:assert/strict";
import { Broker } from "../lib/broker.mjs";
import { BROKERS, REMOTE, assertAlive, link, startBrowser, startRemote, test, withPair, world } from "../lib/world.mjs";

export default function errors() {
  for (const kind of BROKERS) {
    const broker = () => world.brokers[kind];

    test(`an id that is taken: ${kind} broker`, async () => {
      await withPair(broker(), async (pair) => {
        const page = await startBrowser(broker(), { id: pair.remote.id });
        await page.error("unavailable-id");
        await page.event("close");
        await page.end();

        const late = await startRemote(broker(), { id: pair.browser.id });
        await late.error("unavailable-id");
        await late.event("close");
        if (REMOTE === "rust") {
          const { code } = await late.exit();
          assert.notEqual(code, 0, "the exit code says that it failed");
        }
        await late.end();
        await assertAlive(await link(pair, "remote"));
      });
    });

    test(`an unknown peer: ${kind} broker`, () =>
      withPair(broker(), async (pair) => {
        for (const peer of [pair.remote, pair.browser]) {
          await peer.command({ connect: "nobody-has-this-id" });
          const error = await peer.error("peer-unavailable");
          assert.ok(error.message.includes("nobody-has-this-id"), JSON.stringify(error));
        }
        await assertAlive(await link(pair, "remote"));
      }));

    test(`an invalid key: ${kind} broker`, async () => {
      const page = await startBrowser(broker(), { key: "wrong" });
      await page.error("server-error");
      await page.end();
      if (REMOTE !== "rust") return;
      const remote = await startRemote(broker(), { key: "wrong" });
      const matches = (event) => event.event === "error" && ["server-error", "invalid-key"].includes(event.kind);
      await remote.next("an error about the key", matches);
      assert.notEqual((await remote.exit()).code, 0);
    });

    test(`an id that no PeerJS would take: ${kind} broker`, async () => {
      const remote = await startRemote(broker(), { id: "-a--b-" });
      if (REMOTE === "rust") {
        const { code } = await remote.exit();
        assert.ok(code !== 0 && code !== 101, `exit code ${code}`);
      } else {
        await remote.error("invalid-id");
        await remote.end();
      }
    });
  }

  test("a broker that is not there", async () => {
    const gone = await Broker.start(BROKERS[0]);
    await gone.kill();
    const remote = await startRemote(gone);
    await remote.error("network");
    await remote.end();
  });
}
