// What one peer reported, in order, and waiting for what it has not reported yet.

/** How long a test waits for an event before it gives up. Generous: it ends a hang, it never decides a race. */
export const PATIENCE = Number(process.env.INTEROP_PATIENCE ?? 60_000);

export class EventLog {
  #name;
  #pending = [];
  #waiting = [];
  #history = [];
  #ended;

  constructor(name) {
    this.#name = name;
  }

  push(event) {
    this.#history.push(event);
    if (this.#history.length > 400) this.#history.splice(0, 100);
    const at = this.#waiting.findIndex((waiter) => waiter.matches(event));
    if (at < 0) {
      this.#pending.push(event);
      return;
    }
    this.#waiting.splice(at, 1)[0].resolve(event);
  }

  /** Nothing more will come (the process ended, the page went away). */
  end(reason) {
    this.#ended ??= reason;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#failure(waiter.what, reason));
  }

  /** Takes the first unread event that matches, waiting for it if need be. Other unread events stay. */
  next(what, matches, patience = PATIENCE) {
    const at = this.#pending.findIndex(matches);
    if (at >= 0) return Promise.resolve(this.#pending.splice(at, 1)[0]);
    if (this.#ended) return Promise.reject(this.#failure(what, this.#ended));
    return new Promise((resolve, reject) => {
      const waiter = { what, matches, reject: finish(reject), resolve: finish(resolve) };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(this.#failure(what, `nothing came within ${patience / 1000} s`));
      }, patience);
      function finish(settle) {
        return (value) => {
          clearTimeout(timer);
          settle(value);
        };
      }
      this.#waiting.push(waiter);
    });
  }

  /** Unread events that match, without taking them. */
  peek(matches) {
    return this.#pending.filter(matches);
  }

  #failure(what, why) {
    return new Error(`${this.#name}: waited for ${what}: ${why}\n${this.transcript()}`);
  }

  transcript() {
    const lines = this.#history.slice(-25).map((event) => `    ${shorten(JSON.stringify(event))}`);
    return `  last events of ${this.#name}:\n${lines.join("\n") || "    (none)"}`;
  }
}

export function shorten(text, limit = 240) {
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length} characters)`;
}
