// What happens to an open connection of the native stack, behind NATs: nothing is lost or doubled, and the order is kept.
// Needs root, the tools of lab.mjs, and the command as PEER_BIN. PEER_NETLAB_OUTAGE=300 adds outages of so many seconds.
// See cells.mjs.
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

import { main } from "./cells.mjs";
import { ends, soon } from "./ends.mjs";
import { Lab, LOGIN } from "./lab.mjs";

const seconds = (number) => sleep(number * 1000);
const cut = (length) => async (lab) => {
  lab.cut("a");
  await seconds(length);
  lab.mend("a");
};
const OUTAGES = [20, 60, ...(process.env.PEER_NETLAB_OUTAGE ? [Number(process.env.PEER_NETLAB_OUTAGE)] : [])];

/** What happens; it is over when that returns. */
const EVENTS = {
  "a stands still for 8 s": async (lab, [a]) => {
    a.signal("SIGSTOP");
    await seconds(8);
    a.signal("SIGCONT");
  },
  ...Object.fromEntries([5, 12].map((length) => [`cable cut for ${length} s`, cut(length)])),
  ...Object.fromEntries(OUTAGES.map((length) => [`outage of ${length} s`, cut(length)])),
  "NAT rebinds to other ports": (lab) => lab.rebind("a"),
  "both NATs rebind": (lab) => {
    lab.rebind("a");
    lab.rebind("b");
  },
  "NAT gets another address": (lab) => lab.move("a"),
  "host gets another address": (lab) => lab.readdress("a"),
  "host gets another interface": (lab) => {
    lab.plug("a", "eth1", 7);
    lab.unplug("a", "eth0");
  },
  "TURN server restarts": async (lab) => {
    await lab.stopTurn();
    await lab.startTurn();
  },
};
/** Kinds of NAT, and the TURN server beside the STUN server. */
const WAYS = {
  direct: { kinds: { a: "port", b: "port" }, turn: [] },
  "direct, with TURN/UDP": { kinds: { a: "port", b: "port" }, turn: (at) => [`turn:${LOGIN}@${at}:3478`] },
  "over TURN/UDP": { kinds: { a: "sym", b: "sym" }, turn: (at) => [`turn:${LOGIN}@${at}:3478`] },
  "over TURN/TCP": { kinds: { a: "blocked", b: "sym" }, turn: (at) => [`turn:${LOGIN}@${at}:3478?transport=tcp`] },
};
/** Packets of more bytes are swallowed at a's NAT, before the connection opens. */
const HOLES = [1220, 1000];
const HOLE_BYTES = 1_000_000;

const CONNECT = 60;
/** Milliseconds between two messages of an end. */
const PAUSE = 50;
/** Seconds of messages before and after, and until everything has to be there. */
const CALM = 2;
const BACK = 150;

function cells() {
  const lives = Object.keys(WAYS).flatMap((way) => Object.keys(EVENTS).map((event) => ({ way, event })));
  const isUseless = ({ way, event }) => event.startsWith("TURN") && way.startsWith("direct");
  const holes = HOLES.flatMap((hole) => ["direct", "over TURN/UDP"].map((way) => ({ way, hole })));
  return [...lives.filter((it) => !isUseless(it)), ...holes];
}

/** Numbered messages of an end, and what the other end has of them. */
class Stream {
  arrivals = [];
  #sent = 0;
  #wrong;
  #timer;

  constructor(from, to) {
    this.to = to;
    to.onData = (data, now) => {
      if (data !== this.arrivals.length) this.#wrong ??= `${to.side} got ${JSON.stringify(data)} for ${this.arrivals.length}`;
      this.arrivals.push(now);
      this.#look?.();
    };
    this.#timer = setInterval(() => from.send(this.#sent++), PAUSE);
  }

  #look;

  /** Sends no more, and waits until all is there. */
  async end() {
    clearInterval(this.#timer);
    await soon(BACK, (done) => {
      this.#look = () => (this.#wrong || this.arrivals.length >= this.#sent) && done();
      this.#look();
    });
    // What comes twice may come late.
    await seconds(CALM);
    if (this.#wrong) throw new Error(this.#wrong);
    if (this.arrivals.length !== this.#sent) throw new Error(`${this.to.side} has ${this.arrivals.length} of ${this.#sent} messages`);
  }

  /** Seconds from a time until something arrived, and the longest silence. */
  figures(over) {
    const next = this.arrivals.find((at) => at >= over);
    const gaps = this.arrivals.slice(1).map((at, before) => at - this.arrivals[before]);
    return [next - over, Math.max(...gaps)].map((milliseconds) => (milliseconds / 1000).toFixed(1));
  }
}

async function open({ way, hole }) {
  const { kinds, turn } = WAYS[way];
  const lab = await Lab.up(kinds, 4);
  await lab.startTurn();
  if (hole) lab.swallow("a", hole);
  const at = lab.at(10);
  const urls = [`stun:${at}:3478`, ...(turn.length === 0 ? [] : turn(at))];
  const broker = await lab.startBroker(process.env.PEER_BIN);
  const both = await ends(lab, process.env.PEER_BIN, ["native", "native"], ["--broker", broker, "--survive", "600", ...urls.flatMap((url) => ["--ice-server", url])]);
  both[0].say({ connect: "b", reliable: true });
  for (const end of both) {
    const { event, message } = await end.next(CONNECT, "connection-open", "error");
    if (event === "error") throw new Error(message);
  }
  return { lab, both };
}

async function life(cell) {
  const { lab, both } = await open(cell);
  const streams = [new Stream(both[0], both[1]), new Stream(both[1], both[0])];
  await seconds(CALM);
  await EVENTS[cell.event](lab, both);
  const over = performance.now();
  await seconds(CALM);
  await Promise.all(streams.map((stream) => stream.end()));
  const [out, back] = streams.map((stream) => stream.figures(over));
  return `${out[0]}, ${back[0]} | longest silence ${out[1]} s, ${back[1]} s`;
}

/** Carries much both ways where only small packets get through. */
async function hole(cell) {
  const begun = performance.now();
  const { both } = await open(cell);
  const opened = performance.now();
  const text = "·".repeat(HOLE_BYTES / 2);
  await Promise.all([[0, 1], [1, 0]].map(async ([from, to]) => {
    const came = await soon(BACK, (done) => {
      both[to].onData = done;
      both[from].send(text);
    });
    if (came !== text) throw new Error(`${both[to].side} has not got its ${HOLE_BYTES} bytes`);
  }));
  const [opening, carrying] = [opened - begun, performance.now() - opened].map((it) => (it / 1000).toFixed(1));
  return `– | open after ${opening} s, carried after ${carrying} s`;
}

const title = ({ way, event, hole }) => `${way} | ${event ?? `packets above ${hole} bytes are swallowed`}`;

await main(fileURLToPath(import.meta.url), cells(), title, async (cell) => {
  const row = await (cell.hole ? hole(cell) : life(cell));
  return { row: `passed | ${row}`, passed: true };
});
