// One headless Chromium, and the local web server its pages come from.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const HERE = dirname(dirname(fileURLToPath(import.meta.url)));
export const ARTIFACTS = join(HERE, "artifacts");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const CHROMIUM_PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** PeerJS generations: the file each page loads. */
const PEERJS = {
  "1.5.5": () => join(HERE, "node_modules/peerjs/dist/peerjs.min.js"),
  "1.4.7": () => join(HERE, "node_modules/peerjs-1.4.7/dist/peerjs.min.js"),
  "0.3.14": oldestPeerjs,
};

// `npm install peerjs@0.3.14` wants a git dependency that is gone; the browser build inside the tarball needs none.
const OLDEST_SHA256 = "c5fb56f9d0f3c6f7a63eaef0b536b2aa557fceee3c3448d0915c02864c25a176";

function oldestPeerjs() {
  const file = join(ARTIFACTS, "peerjs-0.3.14.js");
  if (!existsSync(file)) {
    mkdirSync(ARTIFACTS, { recursive: true });
    const work = mkdtempSync(join(tmpdir(), "peerjs-"));
    execFileSync("npm", ["pack", "--silent", "peerjs@0.3.14"], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
    execFileSync("tar", ["-xzf", join(work, "peerjs-0.3.14.tgz"), "-C", work]);
    copyFileSync(join(work, "package/dist/peer.js"), file);
  }
  const sha256 = createHash("sha256").update(readFileSync(file)).digest("hex");
  if (sha256 !== OLDEST_SHA256) throw new Error(`${file} is not the peer.js of peerjs 0.3.14 (sha256 ${sha256})`);
  return file;
}

export async function launchChromium(extraFlags = []) {
  const executablePath = process.env.CHROMIUM ?? CHROMIUM_PLACES.find((place) => existsSync(place));
  if (!executablePath) throw new Error("Chromium is missing: install Debian's `chromium`, or set CHROMIUM to its path");
  const reachable = Object.values(networkInterfaces()).flat().some((address) => !address.internal);
  if (!reachable) {
    throw new Error(
      "this machine has only a loopback interface, where Chromium gathers no ICE candidate; " +
        "as root, add one that leads nowhere: ip link add dummy0 type dummy && " +
        "ip addr add 192.0.2.1/24 dev dummy0 && ip link set dummy0 up",
    );
  }
  return chromium.launch({ executablePath, headless: true, args: [...FLAGS, ...extraFlags] });
}

/** Serves an empty page with PeerJS of the version in the path (`/1.5.5`), and the scripts under page/. */
export async function servePages() {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname.slice(1);
    try {
      if (path === "away") return html(response, "<p>another page</p>");
      if (path in PEERJS) {
        return html(response, ["peerjs/" + path, "agent.js", "bench.js"].map((s) => `<script src="/${s}"></script>`).join(""));
      }
      const version = path.match(/^peerjs\/(.+)$/)?.[1];
      const file = version ? PEERJS[version]() : join(HERE, "page", path.replaceAll("/", ""));
      response.setHeader("content-type", "text/javascript; charset=utf-8");
      response.end(await readFile(file));
    } catch (error) {
      response.statusCode = error.code === "ENOENT" ? 404 : 500;
      response.end(String(error));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: (path) => `http://127.0.0.1:${server.address().port}/${path}`,
    close: () => server.close(),
  };
}

function html(response, body) {
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(`<!doctype html><meta charset="utf-8"><title>interop</title>${body}`);
}
