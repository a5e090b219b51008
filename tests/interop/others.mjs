// Another implementation of WebRTC against the command, through our broker, on a machine that has no processor to spare:
//
//   node others.mjs node-datachannel|@roamhq/wrtc|aiortc     with the stack PEER_STACK
//   OTHERS_OFFERS=120 OTHERS_ANSWERS=20 OTHERS_AT_ONCE=4     how many connections it offers and answers
//   PYTHON=python3                                           which has aiortc
//
// Run by `tests/run long others`, which installs them. The last line is the row. It fails where something does that
// tests/stacks.toml does not list, and where something does not that is listed.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { Broker, STACK } from "./lib/broker.mjs";
import { HERE } from "./lib/chromium.mjs";
import { EventLog } from "./lib/events.mjs";
import { RustPeer, freshId } from "./lib/peers.mjs";
import { Child } from "./lib/process.mjs";
import { cannot } from "./lib/stacks.mjs";

const [implementation] = process.argv.slice(2);
const OFFERS = Number(process.env.OTHERS_OFFERS ?? 120);
const ANSWERS = Number(process.env.OTHERS_ANSWERS ?? 20);
const AT_ONCE = Number(process.env.OTHERS_AT_ONCE ?? 4);
/** Beyond what the other waits for itself. */
const PATIENCE = 60_000;

const OTHERS = join(HERE, "others");
const COMMANDS = {
  "node-datachannel": [process.execPath, join(OTHERS, "peer.mjs"), "node-datachannel"],
  "@roamhq/wrtc": [process.execPath, join(OTHERS, "peer.mjs"), "@roamhq/wrtc"],
  aiortc: [process.env.PYTHON ?? "python3", join(OTHERS, "peer.py")],
};
if (!(implementation in COMMANDS)) throw new Error(`${implementation} is none of ${Object.keys(COMMANDS)}`);

function version() {
  const pinned = readFileSync(join(OTHERS, "requirements.txt"), "utf8").match(new RegExp(`^${implementation}==(.*)$`, "m"));
  return pinned?.[1] ?? JSON.parse(readFileSync(join(OTHERS, "package.json"), "utf8")).dependencies[implementation];
}

function startOther(broker, id, ...role) {
  const [command, ...args] = COMMANDS[implementation];
  const name = `${implementation} ${id}`;
  const log = new EventLog(name);
  const url = `ws://127.0.0.1:${broker.port}`;
  const child = new Child(name, command, [...args, url, id, ...role.map(String)], (line) => log.push(read(line)));
  child.exited.then(({ code, signal, error }) => log.end(`it ended: ${error?.message ?? code ?? signal}\n${child.stderr}`));
  return { log, child, id };
}

function read(line) {
  try {
    return JSON.parse(line);
  } catch {
    return { event: "said", line };
  }
}

/** The other offers, and ours echoes. Gives the milliseconds of those that carried a message both ways. */
async function offers(broker) {
  const ours = await (await RustPeer.start({ broker, echo: true, more: ["--remote-offer-rate", "1000", "--offer-rate", "1000"] })).opened();
  const other = startOther(broker, freshId("other"), "offer", ours.id, OFFERS, AT_ONCE);
  const took = [];
  try {
    for (let ended = 0; ended < OFFERS; ended += 1) {
      const matches = ({ event }) => ["connected", "failed", "error"].includes(event);
      const event = await other.log.next("a connection that echoed or failed", matches, PATIENCE);
      if (event.event === "error") throw new Error(event.why);
      if (event.event === "connected") took.push(event.ms);
      else console.error(`offer ${event.number}: ${event.why}\n${ours.log.transcript()}`);
    }
    for (const { stack } of ours.log.peek(({ event }) => event === "connection-open")) assert.equal(stack, STACK);
  } finally {
    await other.child.stop("SIGKILL");
    await ours.end();
  }
  return took.sort((a, b) => a - b);
}

/** Ours offers, and the other echoes. Gives how many carried a message both ways. */
async function answers(broker) {
  const ours = await (await RustPeer.start({ broker })).opened();
  const other = startOther(broker, freshId("other"), "answer");
  let opened = 0;
  try {
    await other.log.next("that it is online", ({ event }) => event === "open", PATIENCE);
    // More failures would say no more, and each takes long.
    for (let number = 0; number < ANSWERS && number < opened + 3; number += 1) {
      await ours.command({ connect: other.id, serialization: "raw", reliable: true });
      const { connection } = await ours.event("connection");
      const of = (...kinds) => (event) => event.connection === connection && [...kinds, "error"].includes(event.event);
      const open = await ours.next("connection-open", of("connection-open"), PATIENCE);
      if (open.event === "error") {
        console.error(`answer ${number}: ${open.message}\n${other.child.stderr}`);
        continue;
      }
      assert.equal(open.stack, STACK);
      const message = `message ${number}`;
      await ours.command({ send: message, connection });
      const back = await ours.next("the echo", of("data", "connection-close"), PATIENCE);
      if (back.data === message) opened += 1;
      else console.error(`answer ${number}: ${JSON.stringify(back)}\n${other.child.stderr}`);
      await ours.command({ close: connection });
    }
  } finally {
    await other.child.stop("SIGKILL");
    await ours.end();
  }
  return opened;
}

const started = Date.now();
const broker = await Broker.start("ours");
const busy = cpus().map((_, i) => new Child(`busy ${i}`, process.execPath, ["-e", "for (;;);"], () => {}));
const took = await offers(broker);
const answered = await answers(broker);
for (const child of busy) await child.stop("SIGKILL");
await broker.stop();

let wrong = 0;
for (const [what, good, all] of [["offers", took.length, OFFERS], ["answers", answered, ANSWERS]]) {
  const test = `${implementation} ${what}`;
  const why = cannot(STACK, "others", test);
  if (!why && good < all) console.error(`${test}: ${all - good} of ${all} failed`);
  else if (why && good === all) console.error(`${test}: it can, which tests/stacks.toml denies: ${why}`);
  else continue;
  wrong += 1;
}
const [middle, longest] = took.length > 0 ? [took[took.length >> 1], took.at(-1)] : ["–", "–"];
const seconds = Math.round((Date.now() - started) / 1000);
console.log(
  `${implementation} ${version()} | ${STACK} | ${took.length} of ${OFFERS} | ${middle} | ${longest} | ${answered} of ${ANSWERS} | ${seconds} s`,
);
process.exit(wrong > 0 ? 1 : 0);
