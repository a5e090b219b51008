// Connects to the firmware with unmodified PeerJS, shows its readings, and talks back.
"use strict";

const $ = (id) => document.getElementById(id);
const SHOWN = 120; // readings on the chart
const LOGGED = 50; // entries in the log
const RETRY_MS = 2000;
// `?serialization=json` and so on: the firmware speaks all of PeerJS's.
const serialization = new URLSearchParams(location.search).get("serialization") ?? "binary";
const raw = serialization === "raw";

const readings = [];
let received = 0;
let connection = null;
let history = null;

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
  for (const id of ["apply", "send", "blob", "upload", "led-0", "led-1"]) $(id).disabled = state !== "open";
}

function log(text, kind = "event") {
  const entry = document.createElement("li");
  entry.dataset.kind = kind;
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  const what = document.createElement("span");
  what.textContent = text;
  entry.append(time, what);
  $("log").prepend(entry);
  while ($("log").children.length > LOGGED) $("log").lastChild.remove();
}

async function start() {
  if (typeof Peer === "undefined") {
    status("error", "PeerJS could not be loaded");
    log("PeerJS could not be loaded. Without internet access run `npm install` in examples/browser and start again.", "error");
    return;
  }
  const config = await (await fetch("config.json")).json();
  if (config.direct) $("how").textContent = "It has an Ethernet, and no gateway.";
  const peer = new Peer({ host: location.hostname, port: config.port, path: "/", config: { iceServers: [] } });
  peer.on("open", () => connect(peer, config.peer));
  peer.on("error", (error) => {
    log(error.message, "error");
    if (!connection?.open) status("error", error.message);
    if (error.type === "peer-unavailable") setTimeout(() => connect(peer, config.peer), RETRY_MS);
  });
  addEventListener("pagehide", () => peer.destroy());
}

function connect(peer, id) {
  status("connecting", `Connecting to ${id}`);
  connection = peer.connect(id, { serialization, reliable: true });
  connection.on("open", () => {
    status("open", `Connected to ${id}`);
    log(`Connected to ${id}, ${serialization}.`);
  });
  connection.on("data", (data) => receive(raw && typeof data === "string" ? JSON.parse(data) : data));
  connection.on("close", () => {
    status("closed", "The connection is over");
    log("The connection is over.", "error");
    setTimeout(() => connect(peer, id), RETRY_MS);
  });
  connection.on("error", (error) => log(error.message, "error"));
}

const send = (command) => connection.send(raw ? JSON.stringify(command) : command);

function receive(message) {
  switch (message.type) {
    case "reading":
      return show(message);
    case "interval":
      return log(`It now takes a reading every ${message.ms} ms.`, "ack");
    case "led":
      return log(`LED ${message.led} is ${message.on ? "on" : "off"}.`, "ack");
    case "text":
      return log(`It received “${message.text}”.`, "ack");
    case "error":
      return log(`It refused: ${message.message}`, "error");
    case "blob":
      history = { bytes: new Uint8Array(message.bytes), came: 0, from: performance.now() };
      return;
    case "part":
      return keep(new TextEncoder().encode(message.text), message.at);
    case "upload":
      return uploaded(message);
    case "done":
      return finish(message);
  }
  const bytes = message instanceof ArrayBuffer ? new Uint8Array(message) : message;
  if (!(bytes instanceof Uint8Array)) return;
  if (raw) keep(bytes.subarray(4), new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
  else keep(bytes, 0);
}

function show(reading) {
  received += 1;
  readings.push(reading.millidegrees / 1000);
  if (readings.length > SHOWN) readings.shift();
  $("value").textContent = readings.at(-1).toFixed(2);
  $("readings").dataset.count = $("readings").textContent = received;
  $("every").textContent = `${reading.interval} ms`;
  $("uptime").textContent = `${Math.floor(reading.uptime / 1000)} s`;
  reading.leds.forEach((on, led) => ($(`led-${led}`).checked = on));
  const low = Math.min(...readings) - 0.1;
  const span = Math.max(...readings) + 0.1 - low;
  const points = readings.map((value, i) => `${SHOWN - readings.length + i},${(95 - (90 * (value - low)) / span).toFixed(1)}`);
  $("line").setAttribute("d", `M${points.join("L")}`);
}

// ---- the history ---------------------------------------------------------------------------------

function keep(bytes, at) {
  if (!history) return;
  history.bytes.set(bytes, at);
  history.came += bytes.length;
  $("progress").value = history.came;
}

function finish({ bytes, checksum }) {
  const found = fnv1a(history.bytes);
  const seconds = ((performance.now() - history.from) / 1000).toFixed(1);
  if (history.came !== bytes || found !== checksum) return log(`The history is damaged: ${history.came} of ${bytes} bytes.`, "error");
  log(`The history: ${bytes} bytes in ${seconds} s, checksum ${found.toString(16)} is right.`, "ack");
  const link = Object.assign(document.createElement("a"), { download: "history.txt" });
  link.href = URL.createObjectURL(new Blob([history.bytes], { type: "text/plain" }));
  link.click();
}

// ---- what it is sent ------------------------------------------------------------------------------

// Of JSON, which has no bytes, a text of less than PeerJS's limit.
const LENGTH = serialization === "json" ? 16_000 : 102_400;
const fnv1a = (bytes) => bytes.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
let expected = null;

function upload() {
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const all = Uint8Array.from({ length: LENGTH }, (_, at) => bytes[at % bytes.length] & 0x3f | 0x40);
  const text = new TextDecoder().decode(all).replaceAll("\\", "/");
  const sent = serialization === "json" ? new TextEncoder().encode(JSON.stringify(text)) : all;
  expected = { bytes: sent.length, checksum: fnv1a(sent), from: performance.now() };
  connection.send(serialization === "json" ? text : all);
}

function uploaded({ bytes, checksum }) {
  const seconds = ((performance.now() - expected.from) / 1000).toFixed(1);
  const right = bytes === expected.bytes && checksum === expected.checksum;
  log(right ? `${bytes} bytes in ${seconds} s: all of it arrived.` : `What arrived is damaged: ${bytes} bytes.`, right ? "ack" : "error");
}

// ---- commands ------------------------------------------------------------------------------------

const onSubmit = (form, act) =>
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
onSubmit("interval-form", () => send({ interval: Number($("interval").value) }));
onSubmit("message-form", () => {
  send({ text: $("message").value });
  $("message").value = "";
});
onSubmit("blob-form", () => {
  $("progress").value = 0;
  send({ blob: true });
});
onSubmit("upload-form", upload);
for (const led of [0, 1]) $(`led-${led}`).addEventListener("change", (event) => send({ led, on: event.target.checked }));

start();
