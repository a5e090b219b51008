// Connects of the native stack where packets are lost and take long; the signalling loses none.
// Needs root, the tools of lab.mjs, the command as PEER_BIN, and the cable as PEER_CABLE. PEER_NETLAB_CONNECTS is how many
// connects a cell has (100). See cells.mjs.
import { fileURLToPath } from "node:url";

import { main } from "./cells.mjs";
import { ends } from "./ends.mjs";
import { Lab } from "./lab.mjs";

/** Packets of 100 that are lost each way, and milliseconds there and back. */
const LOSSES = [0, 1, 2, 5, 10, 20, 30];
const ROUND_TRIPS = [0, 40, 200];
const CONNECTS = Number(process.env.PEER_NETLAB_CONNECTS ?? 100);
const CONNECT = 60;

const cells = LOSSES.flatMap((loss) => ROUND_TRIPS.map((roundTrip) => ({ loss, roundTrip })));

async function connects({ loss, roundTrip }) {
  const lab = await Lab.up({ a: "port", b: "port" }, 4, { program: process.env.PEER_CABLE, loss, delay: roundTrip / 2, seed: 1 });
  await lab.startTurn();
  const broker = await lab.startBroker(process.env.PEER_BIN);
  const [a, b] = await ends(lab, process.env.PEER_BIN, ["native", "native"], ["--broker", broker, "--ice-server", `stun:${lab.at(10)}:3478`]);
  const times = [];
  const failures = [];
  for (let count = 0; count < CONNECTS; count += 1) {
    const begun = performance.now();
    a.say({ connect: "b", reliable: true });
    const { event, message, connection } = await a.next(CONNECT, "connection-open", "error");
    if (event === "error") {
      failures.push(message);
      continue;
    }
    times.push((performance.now() - begun) / 1000);
    a.say({ close: connection });
    await a.next(CONNECT, "connection-close");
    b.forget();
  }
  return { times: times.sort((one, other) => one - other), failures };
}

const title = ({ loss, roundTrip }) => `${loss} % | ${roundTrip} ms`;

await main(fileURLToPath(import.meta.url), cells, title, async (cell) => {
  const { times, failures } = await connects(cell);
  const at = (share) => times[Math.ceil(share * times.length) - 1]?.toFixed(2) ?? "–";
  const row = `${times.length} of ${CONNECTS} | ${at(0.5)} | ${at(0.95)} | ${at(1)} | ${failures[0] ?? ""}`;
  return { row, passed: failures.length === 0 };
});
