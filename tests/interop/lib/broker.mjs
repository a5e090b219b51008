// The two brokers every case runs against.
import { join } from "node:path";
import { HERE } from "./chromium.mjs";
import { startAndMatch } from "./process.mjs";

/** The stack of every command that is started: PEER_STACK. With `cross` it is ours, since the other end is a browser. */
export const STACK = process.env.PEER_STACK === "cross" ? "native" : (process.env.PEER_STACK ?? "webrtc-rs");
process.env.PEER_STACK = STACK;
export const PEER_BIN = process.env.PEER_BIN ?? join(HERE, "../../target/release/peer");
const KEY = "peerjs";

export class Broker {
  #child;

  static async start(kind, port = 0) {
    const broker = new Broker();
    broker.kind = kind;
    await broker.startAgain(port);
    return broker;
  }

  async startAgain(port = this.port) {
    const [command, args] =
      this.kind === "npm"
        ? [process.execPath, [join(HERE, "lib/npm-broker.mjs"), String(port), KEY]]
        : [PEER_BIN, ["broker", "--host", "127.0.0.1", "--port", String(port), "--key", KEY, "--expire_timeout", "1000", "--allow_discovery"]];
    const { child, found } = await startAndMatch(`${this.kind} broker`, command, args, /(?:port |:)(\d{2,5})\b/);
    this.#child = child;
    this.port = Number(found[1]);
  }

  /** PeerJS's options for this broker. */
  settings(more = {}) {
    const config = { iceServers: [] };
    return { host: "127.0.0.1", port: this.port, path: "/", key: KEY, secure: false, config, ...more };
  }

  url(key = KEY) {
    return `http://127.0.0.1:${this.port}/?key=${key}`;
  }

  kill() {
    return this.#child.stop("SIGKILL");
  }

  async stop() {
    const { code } = await this.#child.stop("SIGTERM");
    return code;
  }
}
