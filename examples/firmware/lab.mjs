// The firmware in QEMU with what it needs around it: a broker, and a gateway at the other end of its UART. The program
// `direct` needs the broker alone.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createSocket } from "node:dgram";
import { createConnection, createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
export const ROOT = join(HERE, "../..");
const PEER = process.env.PEER_BIN ?? join(ROOT, "target/release/peer");
const LEAF = "greenhouse";
export const PEER_ID = "greenhouse";
// As in src/direct/settings.rs.
const UDP_PORT = 5007;
// As in src/main.rs.
const KEY = Buffer.from("the key of a demo is not secret.").toString("hex");

/** What lets the firmware read the host's random device. */
export const RANDOM = ["-semihosting-config", "enable=on,target=native"];

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A firmware, its broker, and what they say. */
class Machines {
  log = []; // what the firmware wrote
  said = []; // what the others did
  #waiting = new Set();

  /** `onLine` sees every line that a process writes; `build` are arguments for cargo. */
  constructor(onLine, build) {
    this.onLine = onLine;
    this.firmware = execFileSync(join(HERE, "build"), build, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
  }

  startBroker() {
    this.broker = this.run("broker", PEER, ["broker", "--host", "127.0.0.1", "--port", String(this.brokerPort)]);
    return this.broker.says(/Listening/);
  }

  /** Resolves with the first line of the firmware's log from line `since` on that matches. */
  logged(pattern, since = 0) {
    return this.wait(() => this.log.slice(since).find((line) => pattern.test(line)), `the firmware to say ${pattern}`);
  }

  /** What everybody said last. */
  tail() {
    return [...this.said.slice(-15), ...this.log.slice(-15)].join("\n");
  }

  run(name, command, args) {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    const lines = [];
    const exited = new Promise((resolve) => {
      child.on("error", (error) => resolve(lines.push(String(error))));
      child.on("close", () => {
        running.delete(child);
        resolve();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream.setEncoding("utf8").on("data", (text) => {
        const parts = (rest + text).split("\n");
        rest = parts.pop();
        for (const line of parts) {
          lines.push(line);
          (name === "firmware" ? this.log : this.said).push(line);
          this.onLine(name, line);
        }
        this.#waiting.forEach((check) => check());
      });
    }
    return {
      says: (pattern) => this.wait(() => lines.find((line) => pattern.test(line)), `${name} to say ${pattern}`),
      stop: (signal = "SIGTERM") => {
        child.kill(signal);
        return exited;
      },
    };
  }

  /** The patience ends a hang, it decides nothing. */
  wait(find, what) {
    return new Promise((resolve, reject) => {
      const patience = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`waited for ${what}\n${this.tail()}`));
      }, Number(process.env.INTEROP_PATIENCE ?? 60_000));
      const check = () => {
        const found = find();
        if (found === undefined) return;
        clearTimeout(patience);
        this.#waiting.delete(check);
        resolve(found);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** The firmware behind a gateway. */
export class Lab extends Machines {
  static async start(onLine = () => {}, build = []) {
    const lab = new Lab(onLine, build);
    lab.frames = join(mkdtempSync(join(tmpdir(), "firmware-")), "defmt"); // what it wrote with the feature `defmt`
    lab.brokerPort = await freePort();
    lab.uartPort = await freePort();
    await lab.startBroker();
    lab.startFirmware();
    lab.wire = await Wire.start(lab.uartPort);
    await lab.startGateway();
    await lab.logged(/app: open as/);
    return lab;
  }

  startFirmware() {
    const uart = `tcp:127.0.0.1:${this.uartPort},server=on,wait=off,nodelay=on`;
    const machine = ["-M", "mps2-an386", "-display", "none", "-monitor", "none"];
    this.qemu = this.run("firmware", "qemu-system-arm", [...machine, ...RANDOM, "-serial", uart, "-serial", "stdio", "-serial", `file:${this.frames}`, "-kernel", this.firmware]);
  }

  startGateway() {
    const config = join(mkdtempSync(join(tmpdir(), "firmware-")), "gateway.toml");
    const text = [
      `broker = "ws://127.0.0.1:${this.brokerPort}/"`,
      `listen = ["127.0.0.1:0"]`,
      `connect = ["127.0.0.1:${this.wire.port}"]`,
      `status = "off"`,
      `[[leaf]]`,
      `name = "${LEAF}"`,
      `key = "${KEY}"`,
      `ids = ["${PEER_ID}"]`,
    ];
    writeFileSync(config, text.join("\n"));
    this.gateway = this.run("gateway", PEER, ["gateway", "--config", config]);
    return this.gateway.says(/Ready/);
  }

  async stop() {
    await Promise.all([this.gateway, this.qemu, this.broker].map((child) => child?.stop()));
    this.wire.close();
  }
}

/** The firmware with an Ethernet of its own. QEMU forwards a UDP port of this machine to it, of an address that is not
 * loopback: browsers connect from such ones alone. */
export class DirectLab extends Machines {
  static async start(onLine = () => {}, build = []) {
    const lab = new DirectLab(onLine, ["--bin", "direct", "--features", "direct", ...build]);
    lab.brokerPort = await freePort();
    lab.address = outsideAddress();
    lab.udpPort = await freeUdpPort(lab.address);
    await lab.startBroker();
    lab.startFirmware();
    await lab.logged(/app: open as/);
    return lab;
  }

  startFirmware() {
    const machine = ["-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "null", "-serial", "stdio"];
    // This machine is 10.0.2.2 to the firmware, which is 10.0.2.15.
    const settings = ["direct", `broker=10.0.2.2:${this.brokerPort}`, `reached-at=${this.address}:${this.udpPort}`];
    const host = ["-semihosting-config", ["enable=on,target=native", ...settings.map((it) => `arg=${it}`)].join(",")];
    const network = ["-nic", `user,model=lan9118,hostfwd=udp:${this.address}:${this.udpPort}-10.0.2.15:${UDP_PORT}`];
    this.qemu = this.run("firmware", "qemu-system-arm", [...machine, ...host, ...network, "-kernel", this.firmware]);
  }

  async stop() {
    await Promise.all([this.qemu, this.broker].map((child) => child?.stop()));
  }
}

/** The UART's wire: carries bytes either way, and noise where a test wants it. */
class Wire {
  static async start(uartPort) {
    const wire = new Wire();
    wire.server = createServer((gateway) => {
      const uart = createConnection(uartPort, "127.0.0.1");
      gateway.setNoDelay(true);
      uart.setNoDelay(true);
      Object.assign(wire, { gateway, uart });
      gateway.pipe(uart).pipe(gateway);
      for (const end of [gateway, uart]) {
        end.on("error", () => end.destroy());
        end.on("close", () => (end === gateway ? uart : gateway).destroy());
      }
    });
    await new Promise((resolve) => wire.server.listen(0, "127.0.0.1", resolve));
    wire.port = wire.server.address().port;
    return wire;
  }

  /** Bytes that nobody sent. */
  noise(bytes) {
    this.uart.write(bytes);
    this.gateway.write(bytes);
  }

  close() {
    this.gateway?.destroy();
    this.uart?.destroy();
    this.server.close();
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function outsideAddress() {
  const found = Object.values(networkInterfaces()).flat().find(({ internal, family }) => !internal && family === "IPv4");
  if (!found) throw new Error("this machine has only a loopback interface: browsers need another one");
  return found.address;
}

async function freeUdpPort(address) {
  const socket = createSocket("udp4");
  await new Promise((resolve) => socket.bind(0, address, resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}
