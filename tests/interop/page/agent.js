// PeerJS in a page, driven and observed through the JSON-lines contract of the command `peer`.
// The tests call `agent.start(options)` and `agent.command(object)`; events go to the binding `reportEvents`.
"use strict";

const DIGEST_ABOVE = 32 * 1024;

const agent = {
  peer: null,
  connections: new Map(),
  echo: false,

  start(options) {
    const { id, echo, peer: settings } = options;
    this.echo = echo ?? false;
    this.peer = id === undefined ? new Peer(settings) : new Peer(id, settings);
    this.peer.on("open", (given) => report({ event: "open", id: given }));
    this.peer.on("connection", (connection) => this.adopt(connection, true));
    this.peer.on("error", (error) => report(errorEvent(error, null)));
    // 0.3.14 has no `disconnected` with arguments and names the events as now.
    this.peer.on("disconnected", () => report({ event: "disconnected" }));
    this.peer.on("close", () => report({ event: "close" }));
  },

  command(command) {
    if ("connect" in command) return this.connect(command);
    if ("send" in command) return this.attempt(command, (c) => c.send(decode(command.send)));
    if ("sendAll" in command) {
      return this.attempt(command, (c) => command.sendAll.forEach((value) => c.send(decode(value))));
    }
    if ("echoes" in command) return this.echoes(command);
    if ("frame" in command) return this.attempt(command, (c) => channel(c).send(decode(command.frame)));
    if ("closeChannel" in command) return channel(this.connections.get(command.closeChannel)).close();
    if ("close" in command) return this.close(command);
    if (command.disconnect) return this.peer.disconnect();
    if (command.reconnect) return this.peer.reconnect();
    if (command.destroy) return this.peer.destroy();
    throw new Error(`unknown command ${JSON.stringify(command)}`);
  },

  connect({ connect: remote, ...options }) {
    for (const key of Object.keys(options)) if (options[key] === undefined) delete options[key];
    const connection = this.peer.connect(remote, options);
    if (connection) this.adopt(connection, false);
  },

  close({ close: id, flush }) {
    const connection = this.connections.get(id);
    if (flush) connection.close({ flush: true });
    else connection.close();
  },

  /** Sends so many messages of one byte to a remote that echoes, and reports once when all are back. */
  echoes({ echoes: count, connection: id }) {
    const connection = this.connections.get(id);
    let came = 0;
    let wrong = null;
    connection.removeAllListeners("data");
    connection.on("data", (data) => {
      if (data !== String(came % 10)) wrong ??= came;
      came += 1;
      if (came === count) report({ event: "echoed", connection: id, wrong });
    });
    for (let number = 0; number < count; number += 1) connection.send(String(number % 10));
  },

  attempt(command, act) {
    const connection = this.connections.get(command.connection);
    if (!connection) throw new Error(`no connection ${command.connection}`);
    try {
      act(connection);
    } catch (error) {
      report({ event: "error", kind: "thrown", connection: command.connection, message: String(error) });
    }
  },

  adopt(connection, incoming) {
    const id = connection.connectionId ?? connection.id;
    this.connections.set(id, connection);
    report({
      event: "connection",
      connection: id,
      peer: connection.peer,
      label: connection.label,
      metadata: connection.metadata ?? null,
      serialization: connection.serialization,
      reliable: connection.reliable ?? false,
      incoming,
    });
    connection.on("open", () => report({ event: "connection-open", connection: id }));
    connection.on("close", () => report({ event: "connection-close", connection: id }));
    connection.on("error", (error) => report(errorEvent(error, id)));
    connection.on("data", (data) => {
      report({ event: "data", connection: id, data });
      if (this.echo) connection.send(data);
    });
  },
};

function channel(connection) {
  return connection.dataChannel ?? connection._dc;
}

function errorEvent(error, connection) {
  return { event: "error", kind: error.type ?? null, connection, message: error.message ?? String(error) };
}

// Reports keep their order although checksums are computed asynchronously.
let tail = Promise.resolve();
let batch = [];
let sending = false;

function report(event) {
  tail = tail.then(async () => {
    batch.push(await line(event).catch((error) => JSON.stringify({ ...event, data: { $unreportable: String(error) } })));
    flush();
  });
}

async function line(event) {
  if ("data" in event) return JSON.stringify({ ...event, data: await encode(event.data) });
  return JSON.stringify(event);
}

async function flush() {
  if (sending) return;
  sending = true;
  while (batch.length > 0) await window.reportEvents(`[${batch.splice(0)}]`);
  sending = false;
}

async function encode(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
  if (typeof value !== "object") return value;
  if (value instanceof ArrayBuffer) return encodeBytes(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) return encodeBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (value instanceof Blob) return encodeBytes(new Uint8Array(await value.arrayBuffer()));
  if (Array.isArray(value)) return Promise.all(Array.from(value, encode));
  const entries = await Promise.all(Object.entries(value).map(async ([key, item]) => [key, await encode(item)]));
  return Object.fromEntries(entries);
}

async function encodeBytes(view) {
  if (view.length > DIGEST_ABOVE) {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", view));
    const sha256 = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return { $digest: { length: view.length, sha256 } };
  }
  let text = "";
  for (let at = 0; at < view.length; at += 8192) text += String.fromCharCode(...view.subarray(at, at + 8192));
  return { $bytes: btoa(text) };
}

function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return Uint8Array.from(atob(value.$bytes), (c) => c.charCodeAt(0)).buffer;
  if ("$pattern" in value) return patternBytes(value.$pattern);
  if ("$number" in value) return Number(value.$number);
  if ("$date" in value) return new Date(value.$date);
  if ("$undefined" in value) return undefined;
  if ("$blob" in value) return new Blob([value.$blob]);
  if ("$typed" in value) {
    // A view into the middle of a larger buffer: only the viewed bytes may travel.
    const made = new window[value.$typed](value.values);
    const around = new Uint8Array(made.byteLength + 32).fill(0xee);
    around.set(new Uint8Array(made.buffer), 16);
    return new window[value.$typed](around.buffer, 16, made.length);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decode(item)]));
}

function patternBytes({ length, seed }) {
  const made = new Uint8Array(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made[i] = state >>> 24;
  }
  return made.buffer;
}
