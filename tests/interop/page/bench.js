// The page's half of tests/bench/interop.mjs; examples/bench_peer.rs is the same in Rust.
// The label says what the server does: `echo` sends everything back, `bulk:N` answers "done" after N bytes.
"use strict";

const bench = {
  peer: null,

  open(id, settings) {
    this.peer = new Peer(id, settings);
    return new Promise((resolve, reject) => {
      this.peer.on("open", resolve);
      this.peer.on("error", reject);
    });
  },

  serve() {
    this.peer.on("connection", (connection) => {
      const total = Number(connection.label.match(/^bulk:(\d+)$/)?.[1] ?? 0);
      let received = 0;
      connection.on("data", (data) => {
        if (connection.label === "echo") return connection.send(data);
        received += data.byteLength;
        if (received === total) connection.send("done");
      });
    });
  },

  /** Times in milliseconds, bulk in MiB/s. */
  async run(remote, { connects, pings, megabytes }) {
    const connect = [];
    for (let i = 0; i < connects; i += 1) {
      const started = performance.now();
      const connection = await this.connect(remote, "open", "binary");
      connect.push(performance.now() - started);
      connection.close();
    }
    return {
      connect,
      rtt: await this.ping(remote, pings),
      raw64k: await this.bulk(remote, "raw", 65536, megabytes),
      binary1m: await this.bulk(remote, "binary", 1048576, megabytes),
    };
  },

  connect(remote, label, serialization) {
    return new Promise((resolve, reject) => {
      const connection = this.peer.connect(remote, { label, serialization, reliable: true });
      connection.on("open", () => resolve(connection));
      connection.on("error", reject);
    });
  },

  async ping(remote, pings) {
    const connection = await this.connect(remote, "echo", "raw");
    const times = [];
    for (let i = 0; i < pings; i += 1) {
      const started = performance.now();
      const answer = new Promise((resolve) => connection.once("data", resolve));
      connection.send("x");
      await answer;
      times.push(performance.now() - started);
    }
    connection.close();
    return times;
  },

  async bulk(remote, serialization, frame, megabytes) {
    const total = megabytes * 1048576;
    const connection = await this.connect(remote, `bulk:${total}`, serialization);
    const done = new Promise((resolve) => connection.once("data", resolve));
    const payload = new Uint8Array(frame).fill(7).buffer;
    const started = performance.now();
    for (let sent = 0; sent < total; sent += frame) connection.send(payload);
    await done;
    const seconds = (performance.now() - started) / 1000;
    connection.close();
    return megabytes / seconds;
  },
};
