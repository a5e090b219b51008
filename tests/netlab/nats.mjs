// Every kind of NAT against every other, over STUN and TURN servers: what can work works, and what cannot says why.
// Needs root, the tools of lab.mjs, and the command as PEER_BIN. See cells.mjs.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { main } from "./cells.mjs";
import { ends, soon } from "./ends.mjs";
import { KINDS, Lab, LOGIN } from "./lab.mjs";

/** What each end is told besides the STUN server: at its address, with these credentials. */
const SERVERS = {
  stun: [],
  "turn/udp": (at) => [`turn:${LOGIN}@${at}:3478`],
  "turn/tcp": (at) => [`turn:${LOGIN}@${at}:3478?transport=tcp`],
  "turn/tls": (at) => [`turns:${LOGIN}@${at}:5349`],
  // It refuses.
  "turn, wrong password": (at) => [`turn:lab:wrong@${at}:3478`],
  // Nobody is there.
  "turn, silent": (at) => [`turn:${LOGIN}@${at.replace("10", "99")}:3478`],
  "turn/tcp, silent": (at) => [`turn:${LOGIN}@${at.replace("10", "99")}:3478?transport=tcp`],
  // Nobody vouches for it.
  "turn/tls, untrusted": (at) => [`turns:${LOGIN}@${at}:5349`],
};
const BROKEN = ["turn, wrong password", "turn, silent", "turn/tcp, silent", "turn/tls, untrusted"];
const WORKING = ["stun", "turn/udp", "turn/tcp", "turn/tls"];
/** Those that relay for a host without UDP. */
const OVER_TCP = ["turn/tcp", "turn/tls"];
const STACKS = { native: ["native", "native"], "webrtc-rs": ["webrtc-rs", "webrtc-rs"], crossed: ["native", "webrtc-rs"], "crossed back": ["webrtc-rs", "native"] };

/** Seconds until a connect has to be over, one way or the other. */
const CONNECT = 60;
const DATA = 30;
/** Seconds in which a connection that is relayed at first moves to a direct path. */
const MOVE = 3;
/** Messages each way, and characters of each. */
const MESSAGES = 32;
const LENGTH = 4_000;

function* pairs(kinds) {
  for (const [at, a] of kinds.entries()) for (const b of kinds.slice(at)) yield [a, b];
}

function* cells() {
  const all = Object.keys(KINDS);
  for (const [stacks, family, servers, kinds] of [
    ["native", 4, WORKING, all],
    ["native", 6, WORKING, ["none", "port", "blocked"]],
    ["native", 4, BROKEN, ["sym"]],
    ["webrtc-rs", 4, ["stun", "turn/udp"], all],
    ["crossed", 4, ["stun", "turn/udp"], ["addr", "port", "sym"]],
    ["crossed back", 4, ["stun", "turn/udp"], ["addr", "port", "sym"]],
    ["crossed", 4, OVER_TCP, ["sym", "blocked"]],
  ]) {
    for (const server of servers) for (const [a, b] of pairs(kinds)) yield { stacks, family, server, kinds: { a, b } };
  }
}

/** How two ends can reach each other: `direct`, `relayed`, or `none`. */
function expected({ stacks, family, server, kinds }) {
  const both = [kinds.a, kinds.b];
  const is = (...them) => both.every((kind) => them.includes(kind));
  const blocked = both.includes("blocked");
  const isMet = family === 6 || !(both.includes("sym") && is("sym", "port"));
  if (!blocked && isMet) return "direct";
  const relays = both.map((kind, at) => {
    if (OVER_TCP.includes(server)) return STACKS[stacks][at] === "native";
    return server === "turn/udp" && kind !== "blocked";
  });
  // The other end sends to a relay over UDP, or through its own.
  const reaches = (at) => relays[at] && (relays[1 - at] || both[1 - at] !== "blocked");
  return reaches(0) || reaches(1) ? "relayed" : "none";
}

async function connect(cell) {
  const { stacks, family, server, kinds } = cell;
  const lab = await Lab.up(kinds, family);
  await lab.startTurn();
  const peer = process.env.PEER_BIN;
  const at = lab.at(10);
  const urls = [`stun:${at}:3478`, ...(server === "stun" ? [] : SERVERS[server](at))];
  const trusted = server === "turn/tls, untrusted" ? [] : ["--turn-cafile", lab.authority];
  const options = ["--broker", await lab.startBroker(peer), ...trusted, ...urls.flatMap((url) => ["--ice-server", url])];
  const [a, b] = await ends(lab, peer, STACKS[stacks], options);
  const begun = performance.now();
  a.say({ connect: "b", reliable: true });
  const { event, message, stack } = await a.next(CONNECT, "connection-open", "error");
  const seconds = (performance.now() - begun) / 1000;
  if (event === "error") {
    const tells = STACKS[stacks][0] !== "native" || names(message, urls);
    return { got: tells ? "none" : "none, and names not its servers", seconds, says: message };
  }
  if (stack !== STACKS[stacks][0]) throw new Error(`the stack is ${stack}`);
  await b.next(CONNECT, "connection-open");
  let got = await carried(lab, a, b);
  // Who has a relayed path before the direct one uses it until then.
  const moves = got === "relayed" && expected(cell) === "direct";
  if (moves) {
    await sleep(MOVE * 1000);
    got = await carried(lab, a, b);
  }
  return { got, seconds, says: moves ? "relayed at first" : "" };
}

/** How messages both ways went. */
async function carried(lab, a, b) {
  const before = lab.relayed();
  await Promise.all([carries(a, b), carries(b, a)]);
  return lab.relayed() - before > MESSAGES * LENGTH ? "relayed" : "direct";
}

/** Whether a failure's sentence names each server. */
function names(message, urls) {
  return urls.every((url) => message.includes(url.replace(/^(\w+:).*@/, "$1")));
}

/** Sends messages from one end, and waits until they are at the other, all and in order. */
async function carries(from, to) {
  const text = (number) => `${number}`.padEnd(LENGTH, "·");
  let next = 0;
  const all = await soon(DATA, (done) => {
    to.onData = (data) => {
      if (data !== text(next)) throw new Error(`${to.side} got ${`${data}`.slice(0, 20)} for ${next}`);
      next += 1;
      if (next === MESSAGES) done(true);
    };
    for (let number = 0; number < MESSAGES; number += 1) from.send(text(number));
  });
  if (!all) throw new Error(`${to.side} has ${next} of ${MESSAGES} messages`);
}

const title = (cell) => {
  const { stacks, family, server, kinds } = cell;
  return `${stacks} | IPv${family} | ${server} | ${kinds.a} | ${kinds.b} | ${expected(cell)}`;
};

await main(fileURLToPath(import.meta.url), [...cells()], title, async (cell) => {
  const { got, seconds, says } = await connect(cell);
  return { row: `${got} | ${seconds.toFixed(2)} | ${says}`, passed: got === expected(cell) };
});
