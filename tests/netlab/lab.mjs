// An internet in network namespaces: a server, and two hosts, each behind a NAT.
//
//     srv   203.0.113.10 STUN and TURN, .20 broker          2001:db8::10, ::20
//     net   203.0.113.1, a bridge that also routes           2001:db8::1
//     nat-a 203.0.113.101, and 10.0.1.1 to host-a 10.0.1.2   2001:db8:a::1, ::2
//     nat-b 203.0.113.102, and 10.0.2.1 to host-b 10.0.2.2   2001:db8:b::1, ::2
//
// It is made in a process that has namespaces of its own (`alone`), and gone with it.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const TOOLS = ["unshare", "ip", "nft", "conntrack", "turnserver", "openssl"];
/** Says to a run of a script that it has namespaces of its own. */
const INSIDE = "PEER_NETLAB";
/** Files of the laboratory, in memory of its own. */
const FOLDER = "/run/netlab";
/** Where the TURN server relays. Nothing else comes to the server at these ports over UDP. */
const RELAYED = "49152-65535";
export const LOGIN = "lab:secret";

const SIDES = {
  a: { wan: "203.0.113.101", lan: "10.0.1", prefix: "2001:db8:a", gateway: "2001:db8::a" },
  b: { wan: "203.0.113.102", lan: "10.0.2", prefix: "2001:db8:b", gateway: "2001:db8::b" },
};

/** What a NAT does with what comes from the host and with what comes from outside, in nft's words. */
const TO_HOST = "iifname wan udp dport 1024-65535";
export const KINDS = {
  // Routed: neither NAT nor firewall.
  none: () => ({}),
  // One mapping for all, open to all.
  full: ({ wan, host }) => ({ post: `snat ip to ${wan}`, pre: `${TO_HOST} dnat ip to ${host}` }),
  // One mapping for all, open to those addresses that were sent to.
  addr: ({ wan, host }) => ({
    post: `snat ip to ${wan}`,
    pre: `${TO_HOST} udp dport . ip saddr @talked dnat ip to ${host}`,
    forward: "iifname lan update @talked { udp sport . ip daddr }",
  }),
  // One mapping for all, open to those ports that were sent to.
  port: ({ ports }) => ({ post: ports ? `meta l4proto { tcp, udp } masquerade to :${ports}` : "masquerade" }),
  // A mapping for each remote.
  sym: () => ({ post: "masquerade fully-random" }),
  // No UDP.
  blocked: () => ({ post: "masquerade", forward: "iifname lan meta l4proto udp drop" }),
};

/** Runs a script again with namespaces of its own; what it says on stdout. */
export function alone(script, ...words) {
  for (const tool of TOOLS) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0) throw new Error(`${tool} is missing`);
  }
  const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const { status, stdout, error } = spawnSync("unshare", [...namespaces, process.execPath, script, ...words], {
    env: { ...process.env, [INSIDE]: "1" },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`status ${status}: ${stdout}`);
  return stdout;
}

export const isAlone = () => process.env[INSIDE] === "1";

const run = (...words) => execFileSync(words[0], words.slice(1), { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });

export class Lab {
  #family;
  #sides = {};
  #turn;

  /**
   * `kinds`: of each side's NAT. `family`: 4 or 6, the only one there is. `cable`: the program, and how it is, between the NAT
   * of `a` and the internet.
   */
  static async up(kinds, family, cable) {
    const lab = new Lab();
    lab.#family = family;
    run("mount", "-t", "tmpfs", "tmpfs", "/run");
    mkdirSync(FOLDER);
    lab.#space("net");
    lab.#space("srv");
    lab.ip("net", "link add br0 type bridge forward_delay 0 mcast_snooping 0");
    lab.ip("net", "link set br0 up");
    lab.#address("net", "br0", "203.0.113.1/24", "2001:db8::1/64");
    // What leads nowhere is dropped, and nobody is told.
    for (const nowhere of ["10.0.0.0/8", "2001:db8::/32"]) lab.ip("net", `route add blackhole ${nowhere}`);
    lab.#wire("net", "to-srv", "srv", "eth0");
    lab.ip("net", "link set to-srv master br0");
    for (const host of [10, 20]) lab.#address("srv", "eth0", `203.0.113.${host}/24`, `2001:db8::${host}/64`);
    lab.#default("srv", "203.0.113.1", "2001:db8::1");
    lab.nft("srv", `table inet counted { counter relayed {}
      chain input { type filter hook input priority 0; udp dport ${RELAYED} counter name relayed; }; }`);
    for (const side of ["a", "b"]) await lab.#lan(side, kinds[side], side === "a" ? cable : undefined);
    return lab;
  }

  async #lan(side, kind, cable) {
    const { wan, lan, prefix, gateway } = SIDES[side];
    const nat = `nat-${side}`;
    this.#sides[side] = { kind, wan, host: `${lan}.2`, ports: undefined };
    this.#space(nat);
    if (cable) await this.#cable(cable, "net", `to-${side}`, nat, "wan");
    else this.#wire("net", `to-${side}`, nat, "wan");
    this.ip("net", `link set to-${side} master br0`);
    this.#address(nat, "wan", `${wan}/24`, `${gateway}/64`);
    this.#default(nat, "203.0.113.1", "2001:db8::1");
    this.ip(nat, "link add lan type bridge forward_delay 0 mcast_snooping 0");
    this.ip(nat, "link set lan up");
    this.#address(nat, "lan", `${lan}.1/24`, `${prefix}::1/64`);
    this.#space(`host-${side}`);
    this.plug(side, "eth0", 2);
    if (this.#family === 6) this.ip("net", `-6 route add ${prefix}::/64 via ${gateway}`);
    else if (kind === "none") this.ip("net", `route add ${lan}.0/24 via ${wan}`);
    this.#rules(side);
  }

  /** Gives a host an interface with the address that ends so. */
  plug(side, name, number) {
    const { lan, prefix } = SIDES[side];
    this.#wire(`nat-${side}`, `to-${name}`, `host-${side}`, name);
    this.ip(`nat-${side}`, `link set to-${name} master lan`);
    this.#address(`host-${side}`, name, `${lan}.${number}/24`, `${prefix}::${number}/64`);
    this.#default(`host-${side}`, `${lan}.1 dev ${name}`, `${prefix}::1 dev ${name}`);
  }

  /** Takes it away. */
  unplug(side, name) {
    this.ip(`nat-${side}`, `link del to-${name}`);
  }

  /** Gives a host another address at the interface that it has. */
  readdress(side) {
    const { lan } = SIDES[side];
    this.ip(`host-${side}`, `address del ${lan}.2/24 dev eth0`);
    this.ip(`host-${side}`, `address add ${lan}.9/24 dev eth0`);
    this.#default(`host-${side}`, `${lan}.1`);
  }

  #rules(side) {
    const it = this.#sides[side];
    const { pre = "", post = "", forward = "" } = KINDS[it.kind](it);
    const fromOutside = it.kind === "none" ? "" : "iifname wan ct state new drop";
    const nat = `chain pre { type nat hook prerouting priority dstnat; ${pre}
      }
      chain post { type nat hook postrouting priority srcnat; oifname wan ${post}
      }`;
    this.nft(`nat-${side}`, `flush ruleset
      table inet nat {
        set talked { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 180s; }
        ${this.#family === 6 || post === "" ? "" : nat}
        chain forward { type filter hook forward priority 0; ${forward}
          meta nfproto ipv6 ${fromOutside || "accept"}
        }
        chain input { type filter hook input priority 0; meta l4proto ipv6-icmp accept
          ${fromOutside}
        }
      }`);
  }

  /** The NAT forgets all mappings, and makes the next ones at other ports. */
  rebind(side) {
    const it = this.#sides[side];
    it.ports = it.ports === "20000-24999" ? "30000-34999" : "20000-24999";
    this.#rules(side);
    run("ip", "netns", "exec", `nat-${side}`, "conntrack", "-F");
  }

  /** The NAT has another address outside. */
  move(side) {
    const it = this.#sides[side];
    this.ip(`nat-${side}`, `address del ${it.wan}/24 dev wan`);
    it.wan = it.wan.replace(/\.1(\d\d)$/, ".2$1");
    this.ip(`nat-${side}`, `address add ${it.wan}/24 dev wan`);
    this.#default(`nat-${side}`, "203.0.113.1");
    this.#rules(side);
    run("ip", "netns", "exec", `nat-${side}`, "conntrack", "-F");
  }

  /** Nothing comes through between a NAT and the internet, and nobody is told. */
  cut(side) {
    this.ip("net", `link set to-${side} nomaster`);
  }

  mend(side) {
    this.ip("net", `link set to-${side} master br0`);
  }

  /** The NAT drops packets of more bytes, and tells nobody. */
  swallow(side, bytes) {
    // A train of datagrams is no packet.
    for (const [space, link] of [[`host-${side}`, "eth0"], ["net", `to-${side}`]]) this.ip(space, `link set ${link} gso_max_segs 1`);
    this.nft(`nat-${side}`, `table inet swallowed {
      chain forward { type filter hook forward priority -10; meta l4proto udp meta length > ${bytes} counter drop; }; }`);
  }

  /** Starts STUN and TURN in `srv`. */
  async startTurn() {
    const certificate = this.#certificate();
    const addresses = this.#family === 6 ? "2001:db8::10" : "203.0.113.10";
    const words = ["-n", `--listening-ip=${addresses}`, `--relay-ip=${addresses}`, "--listening-port=3478", "--tls-listening-port=5349"];
    words.push(`--cert=${certificate}.pem`, `--pkey=${certificate}.key`, "--no-dtls", "--fingerprint", "--lt-cred-mech");
    words.push(`--user=${LOGIN}`, "--realm=peer.test", "--no-cli", "--allow-loopback-peers", `--userdb=${FOLDER}/turn.db`);
    words.push(`--pidfile=${FOLDER}/turn.pid`, "--log-file=stdout", "--simple-log");
    this.#turn = this.spawn("srv", ["turnserver", ...words], { stdio: "ignore" });
    await this.#listens("u", 3478);
    await this.#listens("t", 5349);
  }

  async stopTurn() {
    const ended = new Promise((resolve) => this.#turn.once("exit", resolve));
    this.#turn.kill("SIGKILL");
    await ended;
  }

  /** Starts a broker in `srv`; its URL. */
  async startBroker(peer) {
    this.spawn("srv", [peer, "broker"], { stdio: "ignore" });
    await this.#listens("t", 9000);
    return `http://${this.at(20)}:9000`;
  }

  /** An address of the server's, as in a URL. */
  at(number) {
    return this.#family === 6 ? `[2001:db8::${number}]` : `203.0.113.${number}`;
  }

  /** The authority that vouches for the TURN server. */
  get authority() {
    return join(FOLDER, "authority.pem");
  }

  /** Where the server's certificate is, without .pem. */
  #certificate() {
    const [authority, server] = ["authority", "server"].map((name) => join(FOLDER, name));
    if (existsSync(`${server}.pem`)) return server;
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    writeFileSync(`${server}.ext`, "subjectAltName=IP:203.0.113.10,IP:2001:db8::10\n");
    run("openssl", "req", "-x509", ...key, "-subj", "/CN=peer netlab", "-keyout", `${authority}.key`, "-out", `${authority}.pem`);
    run("openssl", "req", ...key.slice(0, 5), "-subj", "/CN=turn", "-keyout", `${server}.key`, "-out", `${server}.csr`);
    const signing = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial", "-days", "2", "-extfile", `${server}.ext`];
    run("openssl", "x509", "-req", "-in", `${server}.csr`, ...signing, "-out", `${server}.pem`);
    return server;
  }

  /** Bytes that came to the TURN server to be relayed. */
  relayed() {
    const [, bytes] = run("ip", "netns", "exec", "srv", "nft", "list", "counter", "inet", "counted", "relayed").match(/bytes (\d+)/);
    return Number(bytes);
  }

  spawn(space, words, options) {
    return spawn("ip", ["netns", "exec", space, ...words], options);
  }

  ip(space, words) {
    run("ip", "-n", space, ...words.split(" "));
  }

  nft(space, rules) {
    execFileSync("ip", ["netns", "exec", space, "nft", "-f", "-"], { input: rules, stdio: ["pipe", "inherit", "inherit"] });
  }

  async #listens(kind, port) {
    for (let tries = 0; tries < 200; tries += 1) {
      if (run("ip", "netns", "exec", "srv", "ss", `-Hln${kind}`).includes(`:${port} `)) return;
      await sleep(50);
    }
    throw new Error(`nothing listens at port ${port}`);
  }

  #space(name) {
    run("ip", "netns", "add", name);
    this.ip(name, "link set lo up");
    const settings = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.ip_forward=1"];
    run("ip", "netns", "exec", name, "sysctl", "-qw", ...settings, "net.ipv6.conf.all.forwarding=1");
  }

  #wire(space, link, other, otherLink) {
    run("ip", "link", "add", link, "netns", space, "type", "veth", "peer", "name", otherLink, "netns", other);
    this.ip(space, `link set ${link} up`);
    this.ip(other, `link set ${otherLink} up`);
  }

  async #cable({ program, loss, delay, seed }, space, link, other, otherLink) {
    const cable = this.spawn(space, [program, link, otherLink, loss, delay, seed].map(String), { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve, reject) => {
      cable.stdout.once("data", resolve);
      cable.once("exit", (code) => reject(new Error(`the cable ended with status ${code}`)));
    });
    this.ip(space, `link set ${otherLink} netns ${other}`);
    this.ip(space, `link set ${link} up`);
    this.ip(other, `link set ${otherLink} up`);
  }

  #address(space, link, v4, v6) {
    this.ip(space, this.#family === 6 ? `address add ${v6} dev ${link} nodad` : `address add ${v4} dev ${link}`);
  }

  #default(space, v4, v6) {
    this.ip(space, this.#family === 6 ? `-6 route replace default via ${v6}` : `route replace default via ${v4}`);
  }
}
