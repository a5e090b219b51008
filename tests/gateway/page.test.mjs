// The status page of `peer gateway` in Chromium: what remotes and leaves chose stays text, and it fits a phone.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PEER_BIN } from "../interop/lib/broker.mjs";
import { launchChromium } from "../interop/lib/chromium.mjs";
import { startAndMatch } from "../interop/lib/process.mjs";

const SCREENSHOTS = process.env.GATEWAY_SCREENSHOTS; // a folder: the pages are kept there, to look at
const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 375, height: 800 } };
const HOSTILE = `</script><img src=x onerror="document.title='owned'"><b>\u202e&lt;\u0007${"x".repeat(100)}`;

const folder = mkdtempSync(join(tmpdir(), "gateway-"));
let gateway, url, chromium;
before(async () => {
  const config = join(folder, "gateway.toml");
  const leaf = `[[leaf]]\nname = "<i>one</i>"\nkey = "${"08".repeat(32)}"\n`;
  writeFileSync(config, `broker = "ws://127.0.0.1:9/"\nstatus = "127.0.0.1:0"\n[[serial]]\npath = "/nowhere/<b>"\n${leaf}`);
  [gateway, chromium] = await Promise.all([
    startAndMatch("gateway", PEER_BIN, ["gateway", "--config", config], /^Status at (.*)$/),
    launchChromium(),
  ]);
  url = gateway.found[1];
});
after(async () => {
  await chromium?.close();
  await gateway?.child.stop();
  rmSync(folder, { recursive: true });
});

/** A gateway in which much goes on, in the shape of the real one's status. */
function busy(real) {
  const connection = (number, more) => ({
    number, peer: `dashboard-${number}`, connection_id: "dc_1", label: "readings", state: "open", incoming: number % 2 === 0,
    since: 61 * number, messages_sent: 40 * number, bytes_sent: 3_000 * number, messages_received: 2, bytes_received: 70,
    buffered: 0, ...more,
  });
  const leaf = (name, more) => ({
    ...real.leaves[0], name, present: true, line: "tcp 192.0.2.7:4711", since: 5_000, arrivals: 1, id: name,
    broker: "connected", link: { ...real.leaves[0].link, bytes_received: 7e6, bytes_sent: 5e4, messages_received: 9_000 },
    connections: [connection(1), connection(2)], ...more,
  });
  return {
    ...real, present: 3, unproven: 2, streams: 1_234,
    refused: { name: 1, key: 2, other: 0, limit: 3, rate: 4, unproven: 5, garbage: 6 },
    leaves: [
      leaf("greenhouse"),
      leaf("barn", { line: "serial /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", connections: [
        connection(3, { state: "interrupted", buffered: 9_999 }), connection(4, { state: "connecting", peer: null, label: null }),
      ], link: { ...real.leaves[0].link, garbage: 3, resends: 12, stalled: 1 } }),
      leaf(HOSTILE.slice(0, 32), { id: HOSTILE, line: "tcp 192.0.2.8:1", connections: [
        connection(5, { peer: HOSTILE, label: HOSTILE, connection_id: HOSTILE }),
      ] }),
      leaf("shed", { present: false, broker: "none", connections: [], last_end: "it took no byte for 10 s" }),
      { ...real.leaves[0], name: "pump" },
    ],
  };
}

async function open(size, change) {
  const page = await chromium.newPage({ viewport: SIZES[size] });
  const trouble = [];
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("console", (message) => message.type() === "error" && trouble.push(message.text()));
  if (change) {
    await page.route("**/status.json", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: change(await response.json()) });
    });
  }
  await page.goto(url);
  await page.waitForSelector("article");
  return { page, trouble };
}

test("the real status is shown", async () => {
  const { page, trouble } = await open("desktop");
  await page.waitForSelector("#absent:not([hidden])"); // the serial port
  assert.equal(await page.textContent("article h2"), "<i>one</i>");
  assert.match(await page.textContent("#summary"), /^0 of 1 leaf here · broker 127\.0\.0\.1:9 · up/);
  assert.match(await page.textContent("#absent li"), /^serial \/nowhere\/<b>: .* \(tried \d+ times?\)$/);
  assert.deepEqual(trouble, []);
  await page.close();
});

for (const size of Object.keys(SIZES)) {
  test(`a busy gateway on a ${size}`, async () => {
    const { page, trouble } = await open(size, busy);
    if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${size}.png`), fullPage: true });
    // Shown as what it is, but for characters that are not seen.
    const shown = HOSTILE.replace(/[\u202e\u0007]/g, "\ufffd");
    assert.equal(await page.textContent(".connections li:has-text('xxxx') .who bdi"), shown);
    assert.equal(await page.textContent(".connections li:has-text('xxxx') .sub bdi"), shown);
    assert.equal(await page.locator("img, article b, article i, script:not([src])").count(), 0);
    assert.match(await page.title(), /^Gateway: 3 of 5 leaves$/);
    const texts = await page.locator(".connections li").allTextContents();
    assert.equal(texts.length, 5);
    assert.match(texts[0], /^→ dashboard-1open 1 minreadings · 40 sent \(2\.9 KiB\) · 2 received \(70 B\)$/);
    assert.match(texts[2], /interrupted 3 min.* 9\.8 KiB waiting$/);
    assert.match(texts[3], /^← not known yetconnecting/);
    assert.match(await page.textContent("#refused"), /4 × came too often/);
    // Nothing is cut off at the right.
    const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= width, `${wide} > ${width}`);
    assert.deepEqual(trouble, []);
    await page.close();
  });
}

test("a gateway that is gone is told", async () => {
  const { page } = await open("desktop");
  await page.route("**/status.json", (route) => route.abort());
  await page.waitForFunction(() => document.getElementById("summary").textContent === "The gateway does not answer.");
  await page.close();
});
