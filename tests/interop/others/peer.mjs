// A peer of another implementation of WebRTC in Node, as small as PeerJS's signalling lets it be. It offers COUNT
// connections, AT_ONCE at a time, sends a message over each and waits for its echo; or it answers, and echoes.
//
//   node peer.mjs node-datachannel|@roamhq/wrtc BROKER ID offer REMOTE COUNT AT_ONCE
//   node peer.mjs node-datachannel|@roamhq/wrtc BROKER ID answer
//
// BROKER is ws://HOST:PORT. A JSON line is written when it is online, and one for each connection; peer.py speaks the same.
import WebSocket from "ws";

const [implementation, broker, id, role, remote, count, atOnce] = process.argv.slice(2);
const module = await import(implementation === "node-datachannel" ? "node-datachannel/polyfill" : implementation);
const { RTCPeerConnection } = module.default;
/** A connection that has not echoed by then has failed. */
const PATIENCE = 30_000;
const HEARTBEAT = 5_000;

const connections = new Map();
const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const socket = new WebSocket(`${broker}/peerjs?key=peerjs&id=${id}&token=${process.pid}&version=1.5.5`);
const say = (type, dst, payload) => socket.send(JSON.stringify({ type, dst, payload }));
socket.on("error", (error) => fail(String(error)));
socket.on("close", () => fail("the broker's socket is closed"));
socket.on("message", (data) => hear(JSON.parse(data)).catch((error) => fail(error.stack)));
setInterval(() => socket.send('{"type":"HEARTBEAT"}'), HEARTBEAT);

function fail(why) {
  tell({ event: "error", why });
  process.exit(1);
}

async function hear({ type, src, payload }) {
  if (type === "OPEN") {
    tell({ event: "open" });
    if (role === "offer") await offerAll();
  } else if (type === "OFFER" && role === "answer") {
    await answer(src, payload);
  } else if (type === "ANSWER") {
    await connections.get(payload.connectionId)?.answered(payload.sdp);
  } else if (type === "CANDIDATE") {
    await connections.get(payload.connectionId)?.candidate(payload.candidate);
  }
}

/** A connection of PeerJS: candidates of the remote wait until its description is there. */
class Connection {
  #early = [];
  #described = false;

  constructor(to, connectionId) {
    Object.assign(this, { to, connectionId, pc: new RTCPeerConnection({ iceServers: [] }) });
    connections.set(connectionId, this);
    this.pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) say("CANDIDATE", to, { candidate, type: "data", connectionId });
    };
  }

  async describe(type, more) {
    const sdp = type === "OFFER" ? await this.pc.createOffer() : await this.pc.createAnswer();
    await this.pc.setLocalDescription(sdp);
    const { connectionId } = this;
    say(type, this.to, { sdp: { type: sdp.type, sdp: this.pc.localDescription.sdp }, type: "data", connectionId, ...more });
  }

  async answered(sdp) {
    await this.pc.setRemoteDescription(sdp);
    this.#described = true;
    for (const candidate of this.#early.splice(0)) await this.candidate(candidate);
  }

  async candidate({ candidate, sdpMid, sdpMLineIndex }) {
    if (!this.#described) return this.#early.push({ candidate, sdpMid, sdpMLineIndex });
    // It may be over: with success, or with what `offer` is told.
    if (["closed", "failed"].includes(this.pc.connectionState)) return;
    // @roamhq/wrtc takes no null.
    await this.pc.addIceCandidate({ candidate, sdpMid, sdpMLineIndex: sdpMLineIndex ?? 0 });
  }

  state() {
    const { iceConnectionState, connectionState, signalingState } = this.pc;
    return `ice ${iceConnectionState}, connection ${connectionState}, signaling ${signalingState}`;
  }

  close() {
    connections.delete(this.connectionId);
    this.pc.close();
  }
}

async function offerAll() {
  let next = 0;
  const worker = async () => {
    while (next < Number(count)) await offer((next += 1));
  };
  await Promise.all(Array.from({ length: Number(atOnce) }, worker));
  tell({ event: "done" });
}

async function offer(number) {
  const started = Date.now();
  const connection = new Connection(remote, `dc_${process.pid}_${number}`);
  const channel = connection.pc.createDataChannel("others", { ordered: true });
  const wanted = `message ${number}`;
  let timer;
  const echoed = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came within 30 s: ${connection.state()}`)), PATIENCE);
    channel.onopen = () => channel.send(wanted);
    connection.pc.onconnectionstatechange = () => {
      if (["closed", "failed"].includes(connection.pc.connectionState)) reject(new Error(connection.state()));
    };
    channel.onclose = () => reject(new Error(`the channel closed: ${connection.state()}`));
    channel.onmessage = ({ data }) => (data === wanted ? resolve() : reject(new Error(`${data} came`)));
  });
  try {
    await Promise.all([connection.describe("OFFER", { label: "others", serialization: "raw", reliable: true }), echoed]);
    tell({ event: "connected", number, ms: Date.now() - started });
  } catch (error) {
    tell({ event: "failed", number, why: error.message });
  } finally {
    clearTimeout(timer);
    connection.close();
  }
}

async function answer(from, { sdp, connectionId }) {
  const connection = new Connection(from, connectionId);
  connection.pc.ondatachannel = ({ channel }) => {
    channel.onmessage = ({ data }) => channel.send(data);
    channel.onclose = () => connection.close();
  };
  await connection.answered(sdp);
  await connection.describe("ANSWER");
}
