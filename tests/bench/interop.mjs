// Connect-to-open, round trip and bulk between Chromium and us, every pair in turn, several rounds in one run, medians.
//
//   cargo build --release -p peer-cli && cargo build --release -p peer-examples --example bench_peer
//   (cd tests/interop && npm ci) && node tests/bench/interop.mjs
//
// BENCH_ROUNDS, BENCH_CONNECTS, BENCH_PINGS, BENCH_MEGABYTES change the amounts; BENCH_PAIRS=page-page,rust-page picks pairs.
import { execFile } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Broker } from "../interop/lib/broker.mjs";
import { launchChromium, servePages } from "../interop/lib/chromium.mjs";
import { freshId } from "../interop/lib/peers.mjs";
import { startAndMatch } from "../interop/lib/process.mjs";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const BENCH_BIN = process.env.BENCH_BIN ?? join(ROOT, "target/release/examples/bench_peer");
const setting = (name, otherwise) => Number(process.env[`BENCH_${name}`] ?? otherwise);
const ROUNDS = setting("ROUNDS", 5);
const PLAN = { connects: setting("CONNECTS", 10), pings: setting("PINGS", 300), megabytes: setting("MEGABYTES", 32) };
// Who runs (connects, sends, measures) and who serves.
const PAIRS = (process.env.BENCH_PAIRS ?? "page-page,rust-page,page-rust,rust-rust").split(",").map((pair) => pair.split("-"));

const broker = await Broker.start(process.env.BENCH_BROKER ?? "ours");
const pages = await servePages();
const chromium = await launchChromium();

/** Both kinds: `run(remote)` resolves with the measurements, `end()`. */
async function openPage(role) {
  const id = freshId(role);
  const page = await (await chromium.newContext()).newPage();
  await page.goto(pages.url("1.5.5"));
  await page.evaluate(({ name, settings }) => bench.open(name, settings), { name: id, settings: broker.settings() });
  if (role === "serve") await page.evaluate(() => bench.serve());
  const run = (remote) => page.evaluate(({ to, plan }) => bench.run(to, plan), { to: remote, plan: PLAN });
  return { id, run, end: () => page.context().close() };
}

async function openRust(role) {
  const id = freshId(role);
  if (role === "serve") {
    const { child } = await startAndMatch("bench_peer serve", BENCH_BIN, ["serve", broker.url(), id], /^open$/);
    return { id, end: () => child.stop() };
  }
  const { connects, pings, megabytes } = PLAN;
  const run = async (remote) => {
    const args = ["run", broker.url(), remote, connects, pings, megabytes].map(String);
    return JSON.parse((await promisify(execFile)(BENCH_BIN, args, { maxBuffer: 1 << 24 })).stdout);
  };
  return { id, run, end: async () => {} };
}

const open = { page: openPage, rust: openRust };
const results = new Map(PAIRS.map((pair) => [pair.join("-"), { connect: [], rtt: [], raw64k: [], binary1m: [] }]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [runner, server] of PAIRS) {
    const serving = await open[server]("serve");
    const running = await open[runner]("run");
    const got = await running.run(serving.id);
    const all = results.get(`${runner}-${server}`);
    all.connect.push(...got.connect);
    all.rtt.push(...got.rtt);
    all.raw64k.push(got.raw64k);
    all.binary1m.push(got.binary1m);
    await Promise.all([running.end(), serving.end()]);
    process.stderr.write(`round ${round + 1} ${runner}-${server}: raw ${got.raw64k.toFixed(1)}, binary ${got.binary1m.toFixed(1)} MiB/s\n`);
  }
}
await chromium.close();
await broker.stop();
pages.close();

const sorted = (list) => [...list].sort((a, b) => a - b);
const quantile = (list, part) => sorted(list)[Math.min(list.length - 1, Math.floor(list.length * part))];
const median = (list) => quantile(list, 0.5);
const spread = (list) => `${Math.min(...list).toFixed(1)}–${Math.max(...list).toFixed(1)}`;

console.log(`${ROUNDS} rounds; a round: ${PLAN.connects} connects, ${PLAN.pings} round trips, ${PLAN.megabytes} MiB per bulk; ` +
  `${cpus().length} processors, load ${loadavg()[0].toFixed(1)}. Medians; in brackets the 90th percentile or the range.\n`);
console.log("| connects – serves | connect to open, ms | round trip, ms | raw 64 KiB, MiB/s | binary 1 MiB, MiB/s |");
console.log("|---|---|---|---|---|");
for (const [pair, { connect, rtt, raw64k, binary1m }] of results) {
  const name = pair.replaceAll("page", "Chromium").replaceAll("rust", "Rust").replace("-", " – ");
  const [c, r] = [connect, rtt].map((list) => `${median(list).toFixed(2)} (${quantile(list, 0.9).toFixed(2)})`);
  const [w, b] = [raw64k, binary1m].map((list) => `${median(list).toFixed(1)} (${spread(list)})`);
  console.log(`| ${name} | ${c} | ${r} | ${w} | ${b} |`);
}
