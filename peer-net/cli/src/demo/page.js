// Connects to the demo's peer with unmodified PeerJS, draws its readings and talks back.
"use strict";

const $ = (id) => document.getElementById(id);
const SHOWN = 120; // readings on the chart
const LOGGED = 50; // entries in the log
const RETRY_MS = 2000;

const readings = [];
let received = 0;
let connection = null;

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
  $("apply").disabled = $("send").disabled = state !== "open";
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

// ---- the connection ------------------------------------------------------------------------------

async function start() {
  if (typeof Peer === "undefined") {
    status("error", "PeerJS could not be loaded");
    log("PeerJS could not be loaded. Without internet access run `npm install` in examples/browser and start the demo again.", "error");
    return;
  }
  const config = await (await fetch("config.json")).json();
  const peer = new Peer({
    host: location.hostname,
    port: config.port,
    path: config.path,
    key: config.key,
    config: { iceServers: [] }, // both ends are on one network
  });
  peer.on("open", (id) => {
    log(`The broker knows this page as ${id}.`);
    connect(peer, config.peer);
  });
  peer.on("error", (error) => {
    log(error.message, "error");
    // Without its broker the page keeps the connection that it has.
    if (!connection?.open && $("status").dataset.state !== "closed") status("error", error.message);
    if (error.type === "peer-unavailable") setTimeout(() => connect(peer, config.peer), RETRY_MS);
  });
  peer.on("disconnected", () => {
    if (connection?.open) log("The broker is gone. The data connection lives on.");
  });
}

function connect(peer, id) {
  status("connecting", `Connecting to ${id}`);
  connection = peer.connect(id, { label: "dashboard", metadata: { page: "demo" }, reliable: true });
  connection.on("open", () => {
    status("open", `Connected to ${id}`);
    log(`Connected to ${id}.`);
  });
  connection.on("data", receive);
  connection.on("close", () => {
    status("closed", "The peer closed the connection");
    log("The peer closed the connection.", "error");
  });
  connection.on("error", (error) => log(error.message, "error"));
}

function receive(message) {
  if (message.type === "reading") {
    received += 1;
    readings.push({ celsius: message.celsius, time: message.time });
    if (readings.length > SHOWN) readings.shift();
    $("readings").dataset.count = $("readings").textContent = received;
    $("every").textContent = `${message.interval} ms`;
    requestAnimationFrame(draw);
  } else if (message.type === "ack" && message.of === "interval") {
    log(`The peer now takes a reading every ${message.ms} ms.`, "ack");
  } else if (message.type === "ack" && message.of === "message") {
    log(`The peer received “${message.text}”.`, "ack");
  } else if (message.type === "error") {
    log(`The peer refused: ${message.message}`, "error");
  }
}

$("interval-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connection.send({ type: "interval", ms: Number($("interval").value) });
});
$("message-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connection.send({ type: "message", text: $("message").value });
  $("message").value = "";
});

// ---- the chart -----------------------------------------------------------------------------------

// The round step (1, 2 or 5 times a power of ten) that cuts `span` into about `count` parts.
function roundStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function draw() {
  if (!readings.length) return;
  const { width, height } = $("chart").getBoundingClientRect();
  const [left, right, top, bottom] = [44, width - 8, 8, height - 26];
  const values = readings.map((reading) => reading.celsius);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const step = roundStep(Math.max(most - least, 0.5), 4);
  const low = Math.floor(least / step) * step;
  const high = Math.max(Math.ceil(most / step) * step, low + step);
  const [from, until] = [readings[0].time, readings[readings.length - 1].time];
  const span = Math.max(until - from, 1000);
  const x = (time) => right - ((right - left) * (until - time)) / span;
  const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);

  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  let grid = "";
  for (let value = low; value <= high + step / 2; value += step) {
    const at = y(value).toFixed(1);
    grid += `<line class="rule" x1="${left}" x2="${right}" y1="${at}" y2="${at}"/>`;
    grid += `<text x="${left - 8}" y="${at}" dy=".32em" text-anchor="end">${value.toFixed(digits)}</text>`;
  }
  // Seconds before the latest reading.
  const every = roundStep(span / 1000, Math.max(2, Math.floor((right - left) / 90)));
  const decimals = Math.max(0, -Math.floor(Math.log10(every)));
  for (let ago = 0; ago <= span / 1000; ago += every) {
    const at = x(until - ago * 1000).toFixed(1);
    grid += `<line class="rule" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/>`;
    const text = ago === 0 ? "now" : `−${ago.toFixed(decimals)} s`;
    const anchor = ago === 0 ? "end" : "middle";
    grid += `<text class="time" x="${at}" y="${bottom + 18}" text-anchor="${anchor}">${text}</text>`;
  }
  $("grid").innerHTML = grid;

  const points = readings.map(({ time, celsius }) => `${x(time).toFixed(1)},${y(celsius).toFixed(1)}`);
  $("line").setAttribute("d", `M${points.join("L")}`);
  $("area").setAttribute("d", `M${x(from).toFixed(1)},${bottom}L${points.join("L")}L${right},${bottom}Z`);
  const latest = values[values.length - 1];
  $("dot").setAttribute("cx", right);
  $("dot").setAttribute("cy", y(latest).toFixed(1));
  $("value").textContent = latest.toFixed(2);
  $("lowest").textContent = `${least.toFixed(2)} °C`;
  $("highest").textContent = `${most.toFixed(2)} °C`;
}

addEventListener("resize", draw);
start();
