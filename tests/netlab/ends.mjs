// The command at an end of the laboratory, with JSON lines.
import { createInterface } from "node:readline";

/** Bytes of stderr that are kept. */
const TOLD_MAX = 8_000;

export class End {
  #child;
  #events = [];
  #waiting = new Set();
  #told = "";
  /** What is called with each message that comes, and when. */
  onData = () => {};

  /** `stack`: its WebRTC stack. `options`: of the command. */
  constructor(lab, side, peer, stack, options) {
    this.side = side;
    this.#child = lab.spawn(`host-${side}`, [peer, "listen", "--json", "--id", side, ...options], {
      stdio: "pipe",
      env: { PATH: process.env.PATH, PEER_STACK: stack, PEER_LOG: process.env.PEER_LOG ?? "warn" },
    });
    this.#child.stderr.setEncoding("utf8").on("data", (text) => {
      this.#told = (this.#told + text).slice(-TOLD_MAX);
      if (process.env.PEER_LOG) process.stderr.write(text.replace(/^/gm, `${side}: `));
    });
    this.#child.stdin.on("error", () => {});
    this.#child.on("exit", (code) => this.#happened({ event: "exit", code }));
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#happened(JSON.parse(line)));
  }

  #happened(event) {
    if (event.event === "data") return this.onData(event.data, performance.now());
    this.#events.push(event);
    for (const look of this.#waiting) look();
  }

  say(command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  send(value) {
    this.say({ send: value, connection: "*" });
  }

  /** Stops the process, and lets it go on. `ip netns exec` is the command itself by then. */
  signal(name) {
    this.#child.kill(name);
  }

  /** The next event of these names, and when it came; those before it are passed over. */
  async next(seconds, ...names) {
    const found = await soon(seconds, (done) => {
      const look = () => {
        while (this.#events.length > 0) {
          const event = this.#events.shift();
          if (names.includes(event.event) || event.event === "exit") return done(event);
        }
      };
      this.#waiting.add(look);
      look();
      return () => this.#waiting.delete(look);
    });
    if (!found || !names.includes(found.event)) throw new Error(`${this.side}: no ${names.join(" or ")} but ${JSON.stringify(found)}; ${this.#told}`);
    return found;
  }

  /** Passes over what came. */
  forget() {
    this.#events = [];
  }
}

/** Waits until `start` calls what it is given; `undefined` when the time is up. `start` returns what ends the waiting. */
export async function soon(seconds, start) {
  let timer;
  let stop;
  const found = await new Promise((resolve) => {
    timer = setTimeout(resolve, seconds * 1000);
    stop = start(resolve);
  });
  clearTimeout(timer);
  stop?.();
  return found;
}

/** Two ends that know the broker, `a` and `b`, of these stacks. */
export async function ends(lab, peer, stacks, options) {
  const both = [new End(lab, "a", peer, stacks[0], options), new End(lab, "b", peer, stacks[1], options)];
  for (const end of both) await end.next(20, "open");
  return both;
}
