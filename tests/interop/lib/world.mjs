// What the cases share: one browser, one web server, one broker of each kind, and the kind of the remote.
import assert from "node:assert/strict";
import { test as declare } from "node:test";
import { LAUNCH } from "../../rtc/browsers.mjs";
import { Broker, STACK } from "./broker.mjs";
import { launchChromium, servePages } from "./chromium.mjs";
import { BrowserPeer, FirefoxPeer, RustPeer, freshId } from "./peers.mjs";
import { cannot } from "./stacks.mjs";
import { canonical } from "./values.mjs";

/** `rust` is the subject; `browser` puts PeerJS in its place, which proves that the cases themselves are right. */
export const REMOTE = process.env.INTEROP_REMOTE ?? "rust";
export const BROKERS = REMOTE === "rust" ? ["ours", "npm"] : ["npm"];
export const SERIALIZATIONS = ["binary", "binary-utf8", "json", "raw"];
export const OFFERERS = ["remote", "browser"];
/** What PeerJS puts into the offer. */
export const wireName = (serialization) => (serialization === "binary-utf8" ? "binary" : serialization);

/** `chromium` or `firefox`: where the page under test is. */
export const BROWSER = process.env.INTEROP_BROWSER ?? "chromium";
if (!["chromium", "firefox"].includes(BROWSER)) throw new Error(`INTEROP_BROWSER is ${BROWSER}: chromium or firefox`);

/** As node's, but what tests/stacks.toml lists has to fail. */
export function test(name, ...rest) {
  const body = rest.pop();
  const why = REMOTE === "rust" && cannot(STACK, "interop", name);
  return declare(name, ...rest, why ? () => assert.rejects(body, undefined, `tests/stacks.toml says that it cannot: ${why}`) : body);
}

export const world = { chromium: null, firefox: null, pages: null, brokers: {} };

export async function setUp() {
  world.pages = await servePages();
  if (BROWSER === "firefox") world.firefox = await LAUNCH.firefox();
  if (BROWSER !== "firefox" || REMOTE !== "rust") world.chromium = await launchChromium();
  for (const kind of BROKERS) world.brokers[kind] = await Broker.start(kind);
}

export async function tearDown() {
  await world.chromium?.close();
  await world.firefox?.close();
  for (const broker of Object.values(world.brokers)) await broker.stop();
  world.pages?.close();
}

/** The page under test. */
export function startBrowser(broker, options = {}) {
  if (BROWSER !== "firefox") return startChromiumPage(broker, options);
  return FirefoxPeer.start({ firefox: world.firefox, pages: world.pages, broker, ...options });
}

function startChromiumPage(broker, options) {
  return BrowserPeer.start({ chromium: world.chromium, pages: world.pages, broker, ...options });
}

/** The peer at the other end. */
export function startRemote(broker, options = {}) {
  const id = options.id === undefined ? freshId(REMOTE) : options.id; // null: the broker gives one
  return REMOTE === "rust" ? RustPeer.start({ broker, ...options, id }) : startChromiumPage(broker, { ...options, id });
}

/** Runs `body` with a browser and a remote that are open, and ends both. What PeerJS threw in the page is a failure. */
export async function withPair(broker, body, { remote: remoteOptions, browser: browserOptions, pageErrors = false } = {}) {
  const browser = await startBrowser(broker, browserOptions);
  const remote = await startRemote(broker, remoteOptions);
  let failed = true;
  try {
    await Promise.all([browser.opened(), remote.opened()]);
    await body({ browser, remote });
    if (!pageErrors) assert.deepEqual(browser.pageErrors, [], "PeerJS threw in the page");
    failed = false;
  } catch (error) {
    // The other side's log says as often as not what went wrong.
    error.message += `\n${browser.log.transcript()}\n${remote.log.transcript()}\n${remote.process?.stderr ?? ""}`;
    throw error;
  } finally {
    const ends = await Promise.allSettled([browser.end(), remote.end()]);
    const bad = ends.find((end) => end.status === "rejected");
    if (bad && !failed) throw bad.reason;
    if (bad) console.error(String(bad.reason));
  }
}

/** One end of a data connection. */
class End {
  constructor(peer, connection, announced) {
    Object.assign(this, { peer, connection, announced });
  }

  send(value) {
    return this.peer.command({ send: value, connection: this.connection });
  }

  sendAll(values) {
    return this.peer.command({ sendAll: values, connection: this.connection });
  }

  close(options = {}) {
    return this.peer.command({ close: this.connection, ...options });
  }

  async data() {
    return (await this.#next("data")).data;
  }

  async several(count) {
    const got = [];
    while (got.length < count) got.push(await this.data());
    return got;
  }

  closed(patience) {
    return this.#next("connection-close", patience);
  }

  error(kind) {
    return this.peer.next(
      `an error of kind ${kind} on ${this.connection}`,
      (event) => event.event === "error" && event.connection === this.connection && event.kind === kind,
    );
  }

  /** Fails at once when the connection does. */
  async opened() {
    const matches = (event) => event.connection === this.connection && ["connection-open", "error"].includes(event.event);
    const event = await this.peer.next(`connection-open of ${this.connection}`, matches);
    assert.equal(event.event, "connection-open", `${this.peer.name} could not connect: ${event.message}`);
    if (this.peer instanceof RustPeer) assert.equal(event.stack, STACK);
  }

  #next(kind, patience) {
    const matches = (event) => event.event === kind && event.connection === this.connection;
    return this.peer.next(`${kind} of ${this.connection}`, matches, patience);
  }
}

/** Connects the two peers; resolves when both ends are open. */
export async function link({ browser, remote }, offerer, options = {}) {
  const [from, to] = offerer === "remote" ? [remote, browser] : [browser, remote];
  const label = options.label ?? freshId("label");
  await from.command({ connect: to.id, ...options, label });
  const [mine, theirs] = await Promise.all([announced(from, label, false), announced(to, label, true)]);
  const ends = [new End(from, mine.connection, mine), new End(to, theirs.connection, theirs)];
  await Promise.all(ends.map((end) => end.opened()));
  return offerer === "remote" ? { remote: ends[0], browser: ends[1] } : { browser: ends[0], remote: ends[1] };
}

function announced(peer, label, incoming) {
  const matches = (event) => event.event === "connection" && event.label === label && event.incoming === incoming;
  return peer.next(`a connection labelled ${label}`, matches);
}

/** Both directions still carry data. */
export async function assertAlive(ends, hint = "alive") {
  for (const [from, to] of [[ends.browser, ends.remote], [ends.remote, ends.browser]]) {
    await from.send(`${hint} 🌍`);
    assert.equal(await to.data(), `${hint} 🌍`);
  }
}

/** Sends all values one way and compares what arrived: in order if the channel is ordered, as a set otherwise. */
export async function assertCarries(from, to, cases, { ordered }) {
  await from.sendAll(cases.map(({ send }) => send));
  const got = await to.several(cases.length).catch((error) => {
    throw new Error(`${error.message}\n${from.peer.log.transcript()}`);
  });
  const wanted = cases.map(({ send, expect = send }) => canonical(expect));
  if (ordered) return assert.deepEqual(got, wanted);
  const sorted = (list) => list.map((value) => JSON.stringify(value)).sort();
  assert.deepEqual(sorted(got), sorted(wanted));
}
