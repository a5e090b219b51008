// Chromium and Firefox, headless, and the plain page of browsers.test.mjs in them.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HERE, launchChromium } from "../interop/lib/chromium.mjs";
import { startAndMatch } from "../interop/lib/process.mjs";

const { WebSocket } = createRequire(join(HERE, "package.json"))("ws");
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
/** Nothing of Firefox's own goes to the network, and no host address is hidden behind a name of mDNS. */
const PREFERENCES = {
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "app.update.enabled": false,
  "browser.aboutwelcome.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.enabled": false,
};

/** Serves the page. */
export async function servePage() {
  const script = await readFile(new URL("page.js", import.meta.url), "utf8");
  const server = createServer((_, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<!doctype html><meta charset="utf-8"><title>rtc</title><script>${script}</script>`);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** `open(url)` gives a page with `run(expression)` and `close()`. */
export const LAUNCH = { chromium: startChromium, firefox: startFirefox };

async function startChromium() {
  const chromium = await launchChromium();
  return {
    version: `Chromium ${chromium.version()}`,
    async open(url) {
      const page = await chromium.newPage();
      await page.goto(url);
      return { run: (expression) => page.evaluate(expression), close: () => page.close() };
    },
    close: () => chromium.close(),
  };
}

// WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), spoken by Firefox itself.
async function startFirefox() {
  // The second column is the destination, in hexadecimal.
  const routes = readFileSync("/proc/net/route", "utf8");
  if (!/^\S+\s+00000000\s/m.test(routes)) {
    throw new Error("this machine has no default route, without which Firefox gathers no candidate: tests/run deps adds one");
  }
  const profile = mkdtempSync(join(tmpdir(), "firefox-"));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${value});`);
  writeFileSync(join(profile, "user.js"), lines.join("\n"));
  const bidi = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"];
  const options = { env: { ...process.env, HOME: profile } };
  const listening = /WebDriver BiDi listening on (ws:\S+)/;
  // It says where it listens on its standard error.
  const merged = ["-c", 'exec "$0" "$@" 2>&1', FIREFOX, ...bidi];
  const { child, found } = await startAndMatch("Firefox", "/bin/sh", merged, listening, options);
  const socket = new WebSocket(`${found[1]}/session`);
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  const asked = new Map();
  socket.on("message", (data) => {
    const { id, type, result, error, message } = JSON.parse(data);
    const { resolve, reject } = asked.get(id) ?? {};
    asked.delete(id);
    if (type === "success") resolve?.(result);
    else if (type === "error") reject?.(new Error(`Firefox: ${error}: ${message}`));
  });
  let last = 0;
  const ask = (method, params) =>
    new Promise((resolve, reject) => {
      asked.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    });
  const { capabilities } = await ask("session.new", { capabilities: {} });
  return {
    version: `Firefox ${capabilities.browserVersion}`,
    async open(url) {
      const { context } = await ask("browsingContext.create", { type: "tab" });
      const goto = (url) => ask("browsingContext.navigate", { context, url, wait: "complete" });
      await goto(url);
      return {
        goto,
        resize: (viewport) => ask("browsingContext.setViewport", { context, viewport }),
        /** Runs a function in each page that is loaded from now on, before its own scripts. */
        preload: (act) => ask("script.addPreloadScript", { functionDeclaration: String(act), contexts: [context] }),
        async run(expression) {
          const wrapped = `(async () => JSON.stringify(await (${expression})) ?? "null")()`;
          const target = { context };
          const done = await ask("script.evaluate", { expression: wrapped, target, awaitPromise: true });
          if (done.type === "exception") throw new Error(`in the page: ${done.exceptionDetails.text}`);
          return JSON.parse(done.result.value);
        },
        close: () => ask("browsingContext.close", { context }),
      };
    },
    async close() {
      socket.close();
      await child.stop();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
