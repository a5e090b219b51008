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
  test("the demo and its page", { skip: REMOTE === "rust" ? false : "about our command" }, async (t) => {
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
        for (const opened of pages) await until(opened, () => document.querySelector("#status").dataset.state === "closed");
      });
    } finally {
      await child.stop("SIGKILL");
      for (const opened of pages) await opened.close();
    }
  });
}

/** Chromium's page, and what it threw and asked of other machines. */
async function openChromium(url, options) {
  const context = await world.chromium.newContext(options);
  const [thrown, foreign] = [[], []];
  await context.route((target) => target.hostname !== "127.0.0.1", (route) => {
    foreign.push(route.request().url());
    return route.abort();
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => thrown.push(String(error)));
  await page.goto(url);
  const screenshot = (name, fullPage = false) => page.screenshot({ path: join(ARTIFACTS, `demo-${name}.png`), fullPage });
  const evaluate = (act, given) => page.evaluate(act, given);
  return { evaluate, screenshot, faults: () => ({ thrown, foreign }), close: () => context.close() };
}

/** The same of Firefox, which knows no phones but their size. */
async function openFirefox(url, { viewport }) {
  const tab = await world.firefox.open("about:blank");
  const evaluate = (act, given) => tab.run(`(${act})(${JSON.stringify(given) ?? ""})`);
  await tab.resize(viewport);
  await tab.preload(() => {
    globalThis.thrown = [];
    addEventListener("error", ({ message }) => void thrown.push(message));
  });
  await tab.goto(url);
  const faults = () =>
    evaluate(() => {
      const asked = performance.getEntriesByType("resource").map(({ name }) => name);
      return { thrown, foreign: asked.filter((name) => new URL(name).hostname !== "127.0.0.1") };
    });
  return { evaluate, screenshot: () => {}, faults, close: tab.close };
}

const OPEN = { chromium: openChromium, firefox: openFirefox };

async function drive(url, size, options) {
  const page = await OPEN[BROWSER](url, options);
  await until(page, () => document.querySelector("#status").dataset.state === "open");
  await readings(page, 5);

  await submit(page, "#interval", "#apply", "100");
  await logged(page, "100");
  await readings(page, 15);
  await page.screenshot(size);

  await submit(page, "#message", "#send", "hello 🌍 from the page");
  await logged(page, "hello 🌍 from the page");

  assert.ok((await page.evaluate(drawnPoints)) >= 10, "the chart shows the readings");
  assert.ok(await page.evaluate(() => document.querySelector("#grid").textContent.includes("now")), "the chart says when they were");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  assert.equal(await page.evaluate(() => window.innerWidth), options.viewport.width);
  await page.screenshot(`${size}-whole`, true);
  assert.deepEqual(await page.faults(), { thrown: [], foreign: [] }, "what the page threw, and asked of other machines");
  return page;
}

async function until(page, holds, given) {
  const deadline = Date.now() + PATIENCE;
  while (!(await page.evaluate(holds, given))) {
    assert.ok(Date.now() < deadline, `it does not come to this: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function readings(page, more) {
  const seen = () => Number(document.querySelector("#readings").dataset.count);
  const wanted = (await page.evaluate(seen)) + more;
  await until(page, (count) => Number(document.querySelector("#readings").dataset.count) >= count, wanted);
}

/** Types into a field, and clicks. */
async function submit(page, field, button, value) {
  await until(page, (selector) => !document.querySelector(selector).disabled, button);
  await page.evaluate(([field, button, value]) => {
    document.querySelector(field).value = value;
    document.querySelector(field).dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelector(button).click();
  }, [field, button, value]);
}

function logged(page, text) {
  return until(page, (wanted) => document.querySelector("#log").textContent.includes(wanted), text);
}

/** Points of the longest line in the chart. */
function drawnPoints() {
  const paths = [...document.querySelectorAll("#chart path, #chart polyline")];
  const points = (path) => (path.getAttribute("d") ?? path.getAttribute("points") ?? "").match(/-?[\d.]+[ ,]-?[\d.]+/g)?.length ?? 0;
  return Math.max(0, ...paths.map(points));
}
