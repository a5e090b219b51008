// A plain page with RTCPeerConnection: one end of a data channel, for browsers.test.mjs. No PeerJS in it.
"use strict";

/** What is written into a channel before its buffer is let run low. */
const HIGH = 1 << 20;

const ends = new Map();

class End {
  constructor() {
    this.pc = new RTCPeerConnection({ iceServers: [] });
    this.told = [];
    this.messages = [];
    this.pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.tell({ candidate: candidate.candidate });
    };
    this.pc.onconnectionstatechange = () => this.tell({ state: this.pc.connectionState });
    this.pc.ondatachannel = ({ channel }) => this.use(channel);
  }

  tell(event) {
    if (this.waiting) this.waiting(event);
    else this.told.push(event);
    this.waiting = undefined;
  }

  /** The next of what happened. */
  next() {
    return this.told.length > 0 ? this.told.shift() : new Promise((resolve) => (this.waiting = resolve));
  }

  use(channel) {
    this.channel = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = HIGH / 4;
    const { label, ordered } = channel;
    const open = () => this.tell({ open: { label, ordered } });
    if (channel.readyState === "open") open();
    else channel.onopen = open;
    channel.onclose = () => this.tell({ closed: true });
    channel.onmessage = ({ data }) => {
      this.messages.push(typeof data === "string" ? data : new Uint8Array(data));
      this.heard?.();
    };
  }

  async offer(label, ordered) {
    this.use(this.pc.createDataChannel(label, { ordered }));
    await this.pc.setLocalDescription(await this.pc.createOffer());
    return this.pc.localDescription.sdp;
  }

  async answer(sdp) {
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.pc.setLocalDescription(await this.pc.createAnswer());
    return this.pc.localDescription.sdp;
  }

  answered(sdp) {
    return this.pc.setRemoteDescription({ type: "answer", sdp });
  }

  candidate(candidate) {
    return this.pc.addIceCandidate({ candidate, sdpMid: this.mid(), sdpMLineIndex: 0 });
  }

  mid() {
    return /a=mid:(\S+)/.exec(this.pc.localDescription.sdp)[1];
  }

  /** Sends these, waits until as many have come back, and returns what is wrong with them. */
  async echo(sent, ordered) {
    this.messages.length = 0;
    const begun = performance.now();
    for (const message of sent) {
      if (this.channel.bufferedAmount > HIGH) {
        await new Promise((resolve) => (this.channel.onbufferedamountlow = resolve));
      }
      this.channel.send(message);
    }
    await new Promise((resolve) => {
      this.heard = () => this.messages.length >= sent.length && resolve();
      this.heard();
    });
    const name = (message) => (typeof message === "string" ? `text ${message}` : `binary ${message}`);
    const [want, got] = [sent.map(name), this.messages.map(name)];
    if (!ordered) [want, got].forEach((names) => names.sort());
    const wrong = got.findIndex((message, at) => message !== want[at]);
    const seconds = (performance.now() - begun) / 1000;
    return { count: got.length, wrong: wrong < 0 ? null : { at: wrong, got: got[wrong].slice(0, 80) }, seconds };
  }

  /** A few of each length, text and binary. */
  several(lengths, ordered) {
    const bytes = (length, seed) => Uint8Array.from({ length }, (_, at) => (at * 7 + seed) & 255);
    const text = (length, seed) => "ü".repeat(4) + "x".repeat(Math.max(length - 32, 0)) + seed;
    const sent = lengths.flatMap((length, seed) => [text(length, seed), bytes(length, seed)]);
    return this.echo([...sent, ""], ordered);
  }

  many(count) {
    return this.echo(Array.from({ length: count }, (_, at) => String.fromCharCode(32 + (at % 90))), true);
  }

  /** Numbers each few milliseconds until `stopStream`: the longest wait for one, and whether all came back in order. */
  async stream(length) {
    this.messages.length = 0;
    const sent = [];
    let last = performance.now();
    let longest = 0;
    this.heard = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    this.streaming = true;
    while (this.streaming) {
      sent.push(`${sent.length} `.padEnd(length, "."));
      this.channel.send(sent.at(-1));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    while (this.messages.length < sent.length) await new Promise((resolve) => (this.heard = resolve));
    return { count: sent.length, same: sent.every((message, at) => message === this.messages[at]), longest: longest / 1000 };
  }

  /** Waits until so many more of the stream have come back. */
  async streamed(count) {
    const until = this.messages.length + count;
    while (this.messages.length < until) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  stopStream() {
    this.streaming = false;
  }

  close() {
    this.pc.close();
  }
}

/** Calls a method of an end, which is made if there is none of that number. */
globalThis.call = (number, method, ...parameters) => {
  if (!ends.has(number)) ends.set(number, new End());
  return ends.get(number)[method](...parameters);
};
