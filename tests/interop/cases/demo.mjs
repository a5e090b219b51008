// The first command of the README, and its page at desktop and phone size.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { PEER_BIN } from "../lib/broker.mjs";
import { ARTIFACTS, HERE } from "../lib/chromium.mjs";
import { PATIENCE } from "../lib/events.mjs";
import { startAndMatch } from "../lib/process.mjs";
import { BROWSER, REMOTE, test, world } from "../lib/world.mjs";

const SIZES = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};

export default function demo() {
  const isFor = REMOTE === "rust" && BROWSER === "chromium";
  test("the demo and its page", { skip: isFor ? false : "about our command, with what Chromium shows of a phone" }, async (t) => {
    const env = { ...process.env, PEERJS_FILE: join(HERE, "node_modules/peerjs/dist/peerjs.min.js") };
    const page = /\bpage\b.*?(http:\/\/127\.0\.0\.1:\d+\S*)/;
    const { child, found, lines } = await startAndMatch("peer demo", PEER_BIN, ["demo", "--port", "0"], page, { env });
    mkdirSync(ARTIFACTS, { recursive: true });
    const pages = [];
    try {
      for (const [size, options] of Object.entries(SIZES)) {
        await t.test(size, async () => pages.push(await drive(found[1], size, options)));
      }
      await t.test("the receiver prints readings", async () => {
        const readings = () => lines.slice(lines.findIndex((line) => page.test(line)) + 1).filter((line) => /\d\.\d/.test(line));
        const deadline = Date.now() + PATIENCE;
        while (readings().length < 3) {
          assert.ok(Date.now() < deadline, `no readings on stdout:\n${lines.join("\n")}`);
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      });
      await t.test("what the page says is printed", () => {
        for (const said of ["wants a reading every 100 ms", "says: hello 🌍 from the page"]) {
          assert.ok(lines.some((line) => line.includes(said)), `no line on stdout has: ${said}`);
        }
      });
      await t.test("Ctrl-C ends everything, and the pages notice", async () => {
        child.signal("SIGINT");
        const { code, signal } = await child.exited;
        assert.deepEqual({ code, signal }, { code: 0, signal: null }, child.stderr);
        for (const opened of pages) await opened.waitForSelector("#status[data-state=closed]", { timeout: PATIENCE });
      });
    } finally {
      await child.stop("SIGKILL");
      for (const opened of pages) await opened.context().close();
    }
  });
}

async function drive(url, size, options) {
  const context = await world.chromium.newContext(options);
  const [errors, foreign] = [[], []];
  await context.route((target) => target.hostname !== "127.0.0.1", (route) => {
    foreign.push(route.request().url());
    return route.abort();
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  await page.waitForSelector("#status[data-state=open]");
  await readings(page, 5);

  await page.fill("#interval", "100");
  await page.click("#apply");
  await logged(page, "100");
  await readings(page, 15);
  await page.screenshot({ path: join(ARTIFACTS, `demo-${size}.png`) });

  await page.fill("#message", "hello 🌍 from the page");
  await page.click("#send");
  await logged(page, "hello 🌍 from the page");

  assert.ok((await drawnPoints(page)) >= 10, "the chart shows the readings");
  assert.ok((await page.textContent("#grid")).includes("now"), "the chart says when they were");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  await page.screenshot({ path: join(ARTIFACTS, `demo-${size}-whole.png`), fullPage: true });
  assert.deepEqual(errors, [], "the page threw");
  assert.deepEqual(foreign, [], "the page asked other machines");
  return page;
}

function readings(page, more) {
  return page.evaluate(async (count) => {
    const seen = () => Number(document.querySelector("#readings").dataset.count);
    const from = seen();
    while (seen() < from + count) await new Promise((resolve) => setTimeout(resolve, 50));
  }, more);
}

function logged(page, text) {
  return page.waitForFunction((wanted) => document.querySelector("#log").textContent.includes(wanted), text);
}

/** Points of the longest line in the chart. */
function drawnPoints(page) {
  return page.evaluate(() => {
    const paths = [...document.querySelectorAll("#chart path, #chart polyline")];
    return Math.max(0, ...paths.map((path) => (path.getAttribute("d") ?? path.getAttribute("points") ?? "").match(/-?[\d.]+[ ,]-?[\d.]+/g)?.length ?? 0));
  });
}
