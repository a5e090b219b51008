// The two kinds of peer a test holds. Both take the commands and report the events of the JSON-lines contract,
// so a case written against "the remote" runs with our command (`RustPeer`) and with PeerJS itself (`BrowserPeer`).
import { PEER_BIN } from "./broker.mjs";
import { EventLog, PATIENCE } from "./events.mjs";
import { Child } from "./process.mjs";
import { canonical, plain } from "./values.mjs";

let serial = 0;
/** Ids never collide, also not between runs against one broker. */
export const freshId = (hint) => `${hint}-${process.pid}-${(serial += 1)}`;

class JsonLinesPeer {
  constructor(name) {
    this.name = name;
    this.log = new EventLog(name);
  }

  next(what, matches, patience) {
    return this.log.next(what, matches, patience);
  }

  event(kind, patience) {
    return this.next(`the event ${kind}`, (event) => event.event === kind, patience);
  }

  error(kind, patience) {
    return this.next(`an error of kind ${kind}`, (event) => event.event === "error" && event.kind === kind, patience);
  }

  async opened() {
    this.id = (await this.event("open")).id;
    return this;
  }
}

/** A page with PeerJS, in Chromium. */
export class BrowserPeer extends JsonLinesPeer {
  kind = "browser";
  pageErrors = [];

  static async start({ chromium, pages, broker, id = freshId("page"), version = "1.5.5", key, ...options }) {
    const peer = new BrowserPeer(`page ${id}`);
    const context = await chromium.newContext();
    peer.page = await context.newPage();
    peer.page.on("pageerror", (error) => {
      peer.pageErrors.push(String(error));
      peer.log.push({ event: "page-error", message: String(error) });
    });
    await peer.page.exposeBinding("reportEvents", (_source, batch) => {
      for (const event of JSON.parse(batch)) {
        if ("data" in event) event.data = canonical(event.data);
        peer.log.push(event);
      }
    });
    await peer.page.goto(pages.url(version));
    const all = { id: id ?? undefined, peer: broker.settings(key ? { key } : {}), ...options };
    await peer.page.evaluate((given) => agent.start(given), all);
    return peer;
  }

  command(command) {
    return this.page.evaluate((given) => agent.command(given), command);
  }

  async end() {
    await this.page.context().close();
    this.log.end("its page is closed");
  }
}

/** A page with PeerJS in the Firefox that tests/rtc starts. */
export class FirefoxPeer extends JsonLinesPeer {
  kind = "browser";
  pageErrors = [];

  static async start({ firefox, pages, broker, id = freshId("page"), version = "1.5.5", key, ...options }) {
    const peer = new FirefoxPeer(`page ${id}`);
    const tab = await firefox.open(pages.url(version));
    const evaluate = (act, given) => tab.run(`(${act})(${JSON.stringify(given) ?? ""})`);
    let closing;
    // Firefox refuses to close what is closed.
    peer.page = { evaluate, goto: tab.goto, close: () => (closing ??= tab.close()) };
    await evaluate(() => {
      // Without a binding as Playwright has it, the page is asked for its events.
      Object.assign(globalThis, { batches: [], wake: () => {} });
      globalThis.reportEvents = (batch) => void (batches.push(batch), wake());
      addEventListener("error", ({ message }) => report({ event: "page-error", message }));
    });
    peer.#listen();
    const all = { id: id ?? undefined, peer: broker.settings(key ? { key } : {}), ...options };
    await evaluate((given) => agent.start(given), all);
    return peer;
  }

  /** Takes what the page tells until it is gone. */
  async #listen() {
    try {
      for (;;) {
        const batches = await this.page.evaluate(async () => {
          if (batches.length === 0) await new Promise((resolve) => (globalThis.wake = resolve));
          return batches.splice(0);
        });
        for (const event of batches.flatMap((batch) => JSON.parse(batch))) {
          if (event.event === "page-error") this.pageErrors.push(event.message);
          if ("data" in event) event.data = canonical(event.data);
          this.log.push(event);
        }
      }
    } catch (error) {
      this.log.end(String(error));
    }
  }

  command(command) {
    return this.page.evaluate((given) => agent.command(given), command);
  }

  async end() {
    await this.page.close();
    this.log.end("its page is closed");
  }
}

/** The options of every command with a peer. No ICE server: nothing here leaves the machine. */
export const atBroker = (broker, key) => ["--broker", broker.url(key), "--ice-server", "none"];

/** `peer listen --json`, a process. */
export class RustPeer extends JsonLinesPeer {
  kind = "rust";
  stray = [];

  static async start({ broker, id = freshId("rust"), echo, key, more = [] }) {
    const options = [...(id ? [`--id=${id}`] : []), ...(echo ? ["--echo"] : []), ...more];
    return RustPeer.spawn(`rust ${id}`, ["listen", "--json", ...atBroker(broker, key), ...options]);
  }

  static spawn(name, args) {
    const peer = new RustPeer(name);
    const env = { ...process.env, RUST_BACKTRACE: "1" };
    peer.process = new Child(name, PEER_BIN, args, (line) => peer.#read(line), { env });
    peer.process.exited.then(({ code, signal, error }) => {
      peer.log.end(`the process ended (${error?.message ?? `exit code ${code}, signal ${signal}`})\n${peer.process.stderr}`);
    });
    return peer;
  }

  #read(line) {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      this.stray.push(line);
      return;
    }
    if ("data" in event) event.data = canonical(event.data);
    this.log.push(event);
  }

  command(command) {
    if ("sendAll" in command) {
      for (const value of command.sendAll) this.command({ send: value, connection: command.connection });
      return;
    }
    this.process.write(JSON.stringify("send" in command ? { ...command, send: plain(command.send) } : command));
  }

  async exit(patience = PATIENCE) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.name} still runs\n${this.log.transcript()}\n${this.process.stderr}`)), patience);
    });
    try {
      return await Promise.race([this.process.exited, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async end() {
    await this.process.stop("SIGTERM");
    if (this.process.stderr.includes("panicked")) throw new Error(`${this.name} panicked\n${this.process.stderr}`);
    if (this.stray.length > 0) throw new Error(`${this.name} wrote what is not JSON: ${this.stray[0]}`);
  }
}
