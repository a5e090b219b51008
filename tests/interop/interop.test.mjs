// Unmodified PeerJS in headless Chromium against the command `peer`. Run by tests/run, or alone:
//
//   node interop.test.mjs                      all cases
//   INTEROP_ONLY=values,close node …           some of the files under cases/
//   INTEROP_REMOTE=browser node …              PeerJS in the place of our command, which proves the cases
//   PEER_BIN=target/debug/peer node …          another build of the command
import { setUp } from "./lib/world.mjs";

const CASES = ["values", "bulk", "connect", "close", "errors", "broker", "hostile", "old", "command", "demo"];

const only = process.env.INTEROP_ONLY?.split(",") ?? CASES;
const unknown = only.filter((name) => !CASES.includes(name));
if (unknown.length > 0) throw new Error(`INTEROP_ONLY names ${unknown}; there are ${CASES}`);

setUp();
for (const name of only) (await import(`./cases/${name}.mjs`)).default();
