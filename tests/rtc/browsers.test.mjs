// `peer_core::rtc` alone, in rtc-peer, with a plain page in unmodified Chromium and Firefox.
//
//   RTC_PEER=target/debug/rtc-peer node --test tests/rtc/browsers.test.mjs
//   RTC_BROWSERS=firefox node …     one of the two
//   RTC_OUTAGE=30 node …            a longer outage than 8 s
import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventLog } from "../interop/lib/events.mjs";
import { Child } from "../interop/lib/process.mjs";
import { LAUNCH, servePage } from "./browsers.mjs";
import { Relay } from "./relay.mjs";

const RTC_PEER = process.env.RTC_PEER ?? fileURLToPath(new URL("../../target/release/rtc-peer", import.meta.url));
const BROWSERS = (process.env.RTC_BROWSERS ?? "chromium,firefox").split(",");
const LABEL = "ünter";
/** Of a text and a binary message each; more than 1 MB together each way. */
const LENGTHS = [0, 1, 1_200, 16_300, 65_536, 262_144, 262_144];
/** Ends a test that hangs. */
const PATIENCE = 120_000;

/** Neither browser checks 127.0.0.1. */
function addresses() {
  const all = Object.values(networkInterfaces()).flat();
  const outside = all.filter(({ family, internal }) => family === "IPv4" && !internal);
  assert.ok(outside.length > 0, "a network interface that is not loopback is needed: tests/run deps adds one");
  return outside.slice(0, 2).map(({ address }) => address);
}

/** Our end: sends each message back. */
class Ours {
  log = new EventLog("rtc-peer");
  candidates = new Map();

  constructor() {
    const child = new Child("rtc-peer", RTC_PEER, addresses(), (line) => this.#hear(JSON.parse(line)));
    child.exited.then(({ code, error }) => this.log.end(error?.message ?? `it ended: ${code}\n${child.stderr}`));
    this.child = child;
  }

  #hear(event) {
    if (event.candidate) this.candidates.get(event.session)?.(event.candidate);
    else this.log.push(event);
  }

  say(command) {
    this.child.write(JSON.stringify(command));
  }

  /** New sockets in the place of the old ones. Gives the seconds until data comes to them. */
  async move() {
    this.say({ move: true });
    return (await this.log.next("data on the new path", ({ event }) => event === "moved")).seconds;
  }

  async description(session) {
    const matches = (event) => event.session === session && event.description;
    return (await this.log.next(`a description of ${session}`, matches)).description;
  }

  event(session, ...names) {
    const matches = (event) => event.session === session && names.includes(event.event);
    return this.log.next(`${names} of ${session}`, matches);
  }
}

/** The browser's end, in a page. */
class Theirs {
  open = new EventLog("the page");

  constructor(page, ours, session, relayed) {
    Object.assign(this, { page, ours, session, relayed });
    ours.candidates.set(session, (line) => this.candidate(line).catch(() => {}));
  }

  /** Signals a candidate of ours, or in its place where the relay shows our end. */
  async candidate(line) {
    if (!this.relayed) return this.call("candidate", line);
    const words = line.split(" ");
    if (this.relay) return;
    this.relay = await Relay.between(words[4], { address: words[4], port: Number(words[5]) });
    await this.call("candidate", words.with(5, this.relay.port).join(" "));
  }

  call(method, ...parameters) {
    const all = [this.session, method, ...parameters].map((it) => JSON.stringify(it));
    return this.page.run(`call(${all.join(", ")})`);
  }

  /** Its description as our end is told it. */
  told(description) {
    return this.relayed ? description.replace(/^a=candidate:.*\r\n/gm, "") : description;
  }

  /** Takes what the page tells, and signals its candidates, until the page is gone. */
  async listen() {
    try {
      for (;;) {
        const event = await this.call("next");
        if (!event.candidate) this.open.push(event);
        // Beside a relay our end shall know none: it learns where the browser is from its checks.
        else if (!this.relayed) this.ours.say({ session: this.session, candidate: event.candidate });
      }
    } catch (error) {
      this.open.end(String(error));
    }
  }

  opened() {
    return this.open.next("its channel", (event) => event.open).then((event) => event.open);
  }

  /** Ends it, without waiting for our end. */
  async close() {
    await this.call("close");
    this.relay?.close();
  }

  closed() {
    return this.open.next("the end", (event) => event.closed || event.state === "closed");
  }
}

let sessions = 0;

/** Connects a page with our end; who offers, and our DTLS role, are given. */
async function connected(page, ours, { weOffer, setup, setups, ordered = true, relayed = false }) {
  const session = ++sessions;
  const waiting = [];
  const theirs = new Theirs(page, ours, session, relayed);
  // A candidate may be told before there is a description that it belongs to.
  const signal = ours.candidates.get(session);
  ours.candidates.set(session, (line) => waiting.push(line));
  if (weOffer) {
    ours.say({ session, offer: LABEL, ordered, setup });
    const offer = await ours.description(session);
    const answer = await theirs.call("answer", offer);
    assert.deepEqual([offer, answer].map(setupOf), setups);
    ours.say({ session, description: theirs.told(answer) });
  } else {
    const offer = await theirs.call("offer", LABEL, ordered);
    ours.say({ session, description: theirs.told(offer), setup });
    const answer = await ours.description(session);
    assert.deepEqual([offer, answer].map(setupOf), setups);
    await theirs.call("answered", answer);
  }
  ours.candidates.set(session, signal);
  waiting.forEach(signal);
  theirs.listen();
  const [here, there] = await Promise.all([ours.event(session, "open", "failed"), theirs.opened()]);
  assert.equal(here.event, "open", here.why);
  assert.deepEqual([here.label, here.ordered], [LABEL, ordered]);
  assert.deepEqual(there, { label: LABEL, ordered });
  return theirs;
}

const setupOf = (description) => /^a=setup:(\w+)/m.exec(description)[1];

/** Who offers, which DTLS role we take, and `a=setup` of offer and answer. A server gets the browser's long hello. */
const ROLES = {
  "we offer, as server": { weOffer: true, setup: "actpass", setups: ["actpass", "active"] },
  "we offer, as client": { weOffer: true, setup: "active", setups: ["active", "passive"] },
  "the browser offers, we are client": { weOffer: false, setup: "actpass", setups: ["actpass", "active"] },
  "the browser offers, we are server": { weOffer: false, setup: "passive", setups: ["actpass", "passive"] },
};

/** Seconds for which nothing gets through; our end says that it is disconnected after 5. */
const OUTAGE = Number(process.env.RTC_OUTAGE ?? 8);
/** How often an end moves under an open session. */
const MOVE_COUNT = 6;

/** A time decides nothing: what asks a browser to follow is tested in virtual time, peer-core/tests/ice/moves.rs. */
function tell(name, how, what, waits, more) {
  const times = waits.map((seconds) => seconds.toFixed(2)).join(" ");
  console.log(`${name}, ${how}, ${what}: data after ${times} s${more}`);
}

for (const name of BROWSERS) {
  describe(name, { timeout: 5 * PATIENCE }, () => {
    let server, browser, page, ours;
    const start = async () => {
      [server, browser] = await Promise.all([servePage(), LAUNCH[name]()]);
      console.log(browser.version);
      page = await browser.open(server.url);
      ours = new Ours();
    };
    before(start, { timeout: PATIENCE });
    after(async () => {
      await browser?.close();
      server?.close();
      await ours?.child.stop();
    });

    let round = 0;
    for (const [how, role] of Object.entries(ROLES)) {
      for (const ordered of [true, false]) {
        // Each end closes ordered and unordered ones, as client and as server, offered by either.
        const weClose = [true, false, false, true, false, true, true, false][round++];
        const title = `${how}, ${ordered ? "ordered" : "unordered"}, ${weClose ? "we close" : "it closes"}`;
        test(title, { timeout: PATIENCE }, async () => {
          const theirs = await connected(page, ours, { ...role, ordered });
          const { wrong, count } = await theirs.call("several", LENGTHS, ordered);
          assert.deepEqual([wrong, count], [null, 2 * LENGTHS.length + 1]);
          if (weClose) {
            ours.say({ session: theirs.session, close: true });
            await theirs.closed();
          } else {
            await theirs.call("close");
            const end = await ours.event(theirs.session, "closed", "failed");
            assert.equal(end.event, "closed", end.why);
          }
        });
      }
    }

    test("100,000 messages of one byte, and back", { timeout: PATIENCE }, async () => {
      const theirs = await connected(page, ours, ROLES["we offer, as server"]);
      const { wrong, count, seconds } = await theirs.call("many", 100_000);
      assert.deepEqual([wrong, count], [null, 100_000]);
      console.log(`${name}: 100,000 messages there and back in ${seconds.toFixed(1)} s`);
      await theirs.call("close");
    });

    test("two pages at once on one socket", { timeout: PATIENCE }, async () => {
      const other = await browser.open(server.url);
      const both = await Promise.all([
        connected(page, ours, ROLES["we offer, as server"]),
        connected(other, ours, ROLES["the browser offers, we are client"]),
      ]);
      const found = await Promise.all(both.map((theirs) => theirs.call("several", LENGTHS, true)));
      assert.deepEqual(found.map(({ wrong }) => wrong), [null, null]);
      await Promise.all(both.map((theirs) => theirs.call("close")));
      await Promise.all(both.map(({ session }) => ours.event(session, "closed")));
      await other.close();
    });

    // Both ends follow without a restart of ICE. Each move of these waits until what it held up is through.
    const MOVES = {
      "new sockets of ours": { relayed: false, move: (theirs) => theirs.ours.move() },
      "another mapping of our NAT": { relayed: true, move: ({ relay }) => relay.rebind("browser") },
      "another mapping of its NAT": { relayed: true, move: ({ relay }) => relay.rebind("ours") },
    };
    for (const how of ["we offer, as server", "the browser offers, we are client"]) {
      for (const [what, { relayed, move }] of Object.entries(MOVES)) {
        test(`${MOVE_COUNT} times ${what} under load: ${how}`, { timeout: PATIENCE }, async () => {
          const theirs = await connected(page, ours, { ...ROLES[how], relayed });
          const streamed = theirs.call("stream", 1_000);
          const waits = [];
          for (let count = 0; count < MOVE_COUNT; count += 1) {
            await theirs.call("streamed", 50);
            waits.push(await move(theirs));
          }
          await theirs.call("stopStream");
          const { count, same, longest } = await streamed;
          tell(name, how, what, waits, `; longest wait ${longest.toFixed(2)} s of ${count} messages`);
          assert.ok(same, "each came back once and in order");
          await theirs.close();
        });

        const idle = relayed ? 2 : MOVE_COUNT;
        test(`${idle} times ${what}, idle: ${how}`, { timeout: PATIENCE }, async () => {
          const theirs = await connected(page, ours, { ...ROLES[how], relayed });
          const waits = [];
          while (waits.length < idle) {
            let isOver = false;
            const moved = move(theirs).finally(() => (isOver = true));
            // The first may still have gone the old way.
            while (!isOver) assert.equal((await theirs.call("several", [100], true)).wrong, null);
            waits.push(await moved);
          }
          tell(name, how, `${what}, idle`, waits, "");
          await theirs.close();
        });
      }
    }

    test("a tenth of the packets lost", { timeout: PATIENCE }, async () => {
      const theirs = await connected(page, ours, { ...ROLES["we offer, as server"], relayed: true });
      theirs.relay.loss = 0.1;
      const { wrong, seconds } = await theirs.call("several", LENGTHS, true);
      assert.equal(wrong, null);
      console.log(`${name}: 1.2 MB there and back at 10 % loss in ${seconds.toFixed(1)} s`);
      await theirs.close();
    });

    test(`${OUTAGE} s without a packet`, { timeout: PATIENCE + OUTAGE * 1000 }, async () => {
      const theirs = await connected(page, ours, { ...ROLES["we offer, as server"], relayed: true });
      const streamed = theirs.call("stream", 1_000);
      await theirs.call("streamed", 50);
      theirs.relay.isDown = true;
      await ours.event(theirs.session, "disconnected");
      await new Promise((resolve) => setTimeout(resolve, (OUTAGE - 5) * 1000));
      theirs.relay.isDown = false;
      await theirs.call("streamed", 50);
      await theirs.call("stopStream");
      const { count, same, longest } = await streamed;
      assert.ok(same, "each came back once and in order");
      console.log(`${name}: nothing of ${count} messages lost, none for ${longest.toFixed(1)} s`);
      await theirs.close();
    });
  });
}
