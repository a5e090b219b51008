// A UDP relay between a browser and our end: NATs whose mappings change, packets that are lost, outages.
import { createSocket } from "node:dgram";

/** Of the same numbers each time: mulberry32. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What is no STUN: DTLS. */
const isData = (datagram) => datagram[0] > 3;

/** The browser sees our end at one side of it, and our end sees the browser at the other. */
export class Relay {
  /** Of the packets of each way, at which share. */
  loss = 0;
  /** Nothing gets through. */
  isDown = false;
  #random = random(1);
  #sides = { browser: {}, ours: {} };

  static async between(address, ours) {
    const relay = new Relay();
    relay.address = address;
    relay.#sides.ours.remote = { address: ours.address, port: ours.port };
    await relay.#bind("browser");
    await relay.#bind("ours");
    return relay;
  }

  /** Where the browser sees our end. */
  get port() {
    return this.#sides.browser.socket.address().port;
  }

  /** Another port at that side; what still goes to the old one is lost. Gives the seconds until data comes to it. */
  async rebind(side) {
    await this.#bind(side);
    const begun = performance.now();
    await new Promise((resolve) => (this.#sides[side].onData = resolve));
    return (performance.now() - begun) / 1000;
  }

  async #bind(side) {
    const socket = createSocket("udp4");
    await new Promise((resolve) => socket.bind(0, this.address, resolve));
    this.#sides[side].socket?.close();
    this.#sides[side].socket = socket;
    const to = side === "ours" ? "browser" : "ours";
    socket.on("message", (datagram, remote) => {
      if (side === "browser") this.#sides.browser.remote = remote;
      if (isData(datagram)) this.#sides[side].onData?.();
      const target = this.#sides[to];
      if (this.isDown || !target.remote || this.#random() < this.loss) return;
      target.socket.send(datagram, target.remote.port, target.remote.address);
    });
  }

  close() {
    for (const { socket } of Object.values(this.#sides)) socket.close();
  }
}
