// Many connects, one after the other, between PeerJS in a browser and the command; they offer in turns. A message goes
// each way before one end closes.
//
//   node connects.mjs FROM COUNT            INTEROP_BROWSER=firefox, PEER_STACK=native; INTEROP_PATIENCE=30000 is
//                                           the time each has
//
// Run by `tests/run long firefox-connects`. Of one that does not open it says on stderr what both ends make of it. The
// last line is how many those were. What is wrong otherwise ends it.
import { BROKERS, OFFERERS, assertAlive, link, setUp, startBrowser, startRemote, tearDown, world } from "./lib/world.mjs";

const [from, count] = process.argv.slice(2).map(Number);

/** What about:webrtc shows of the page's last connection. */
async function diagnosis() {
  const connection = [...agent.connections.values()].at(-1);
  const pc = connection?.peerConnection;
  if (!pc) return "the page has no connection";
  const stats = [...(await pc.getStats()).values()];
  const candidates = new Map(stats.filter(({ type }) => /^(local|remote)-candidate$/.test(type)).map((it) => [it.id, it]));
  const name = (id) => {
    const { address, port, protocol, candidateType } = candidates.get(id) ?? {};
    return `${candidateType} ${protocol} ${address}:${port}`;
  };
  const pairs = stats.filter(({ type }) => type === "candidate-pair");
  return {
    states: [pc.signalingState, pc.iceGatheringState, pc.iceConnectionState, pc.connectionState, pc.sctp?.transport.state],
    channel: connection.dataChannel?.readyState,
    pairs: pairs.map((it) => `${it.state} ${name(it.localCandidateId)} – ${name(it.remoteCandidateId)}${it.nominated ? " nominated" : ""}`),
    candidates: [...candidates.keys()].map(name),
    local: pc.localDescription?.sdp,
    remote: pc.remoteDescription?.sdp,
  };
}

await setUp();
let hung = 0;
try {
  const broker = world.brokers[BROKERS[0]];
  const pair = { browser: await startBrowser(broker), remote: await startRemote(broker, { more: ["--log", "debug"] }) };
  await Promise.all([pair.browser.opened(), pair.remote.opened()]);
  for (let number = from; number < from + count; number += 1) {
    const offerer = OFFERERS[number % 2];
    let ends;
    try {
      ends = await link(pair, offerer, { serialization: "binary", reliable: true });
    } catch (error) {
      hung += 1;
      const seen = await pair.browser.page.evaluate(diagnosis);
      console.error(`connect ${number}, ${offerer} offers: ${error.message}\n${JSON.stringify(seen, null, 2)}`);
      console.error(`${pair.remote.log.transcript()}\n${pair.remote.process.stderr}`);
      continue;
    }
    await assertAlive(ends);
    const [closer, other] = number % 4 < 2 ? ["browser", "remote"] : ["remote", "browser"];
    await ends[closer].close();
    await Promise.all([ends[other].closed(), ends[closer].closed()]);
    // The page forgets it, as one that is used so would.
    await pair.browser.page.evaluate((id) => void agent.connections.delete(id), ends.browser.connection);
  }
  await Promise.all([pair.browser.end(), pair.remote.end()]);
} finally {
  await tearDown();
}
console.log(hung);
process.exit(0);
