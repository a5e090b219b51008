// A child process whose lines are read and whose last words are kept for the failure message.
import { spawn } from "node:child_process";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Child {
  #stderr = [];

  constructor(name, command, args, onLine, options = {}) {
    this.name = name;
    this.exited = new Promise((resolve) => {
      this.child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
      running.add(this.child);
      this.child.on("error", (error) => resolve({ code: null, signal: null, error }));
      this.child.on("close", (code, signal) => {
        running.delete(this.child);
        resolve({ code, signal });
      });
    });
    this.child.stdin.on("error", () => {}); // it ended before it read everything: `exited` tells
    readLines(this.child.stdout, onLine);
    readLines(this.child.stderr, (line) => {
      this.#stderr.push(line);
      if (this.#stderr.length > 60) this.#stderr.shift();
    });
  }

  write(line) {
    this.child.stdin.write(`${line}\n`);
  }

  signal(name) {
    this.child.kill(name);
  }

  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    const patience = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    const how = await this.exited;
    clearTimeout(patience);
    return how;
  }

  get stderr() {
    return this.#stderr.join("\n");
  }
}

/** Lines of any length: a 20 MB message is one line. */
function readLines(stream, onLine) {
  let parts = [];
  stream.on("data", (data) => {
    let start = 0;
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, start)) {
      parts.push(data.subarray(start, at));
      start = at + 1;
      onLine(Buffer.concat(parts).toString("utf8"));
      parts = [];
    }
    if (start < data.length) parts.push(data.subarray(start));
  });
  stream.on("end", () => {
    if (parts.length > 0) onLine(Buffer.concat(parts).toString("utf8"));
  });
}

/** Resolves with the first match of `pattern` in a line the child writes. */
export function startAndMatch(name, command, args, pattern, options) {
  return new Promise((resolve, reject) => {
    const lines = [];
    const child = new Child(
      name,
      command,
      args,
      (line) => {
        lines.push(line);
        const found = line.match(pattern);
        if (found) resolve({ child, found, lines });
      },
      options,
    );
    child.exited.then(({ code, signal, error }) => {
      const why = error?.message ?? `exit code ${code}, signal ${signal}`;
      reject(new Error(`${name} ended early (${why})\n${lines.join("\n")}\n${child.stderr}`));
    });
  });
}
