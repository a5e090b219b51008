// Unmodified PeerJS in a headless browser against the command `peer`. Run by tests/run, or alone:
//
//   node interop.test.mjs                      all cases, in Chromium
//   INTEROP_ONLY=values,close node …           some of the files under cases/
//   INTEROP_REMOTE=browser node …              PeerJS in the place of our command, which proves the cases
//   INTEROP_BROWSER=firefox node …             in Firefox
//   PEER_BIN=target/debug/peer node …          another build of the command
import { after, before } from "node:test";
import { setUp, tearDown } from "./lib/world.mjs";

const CASES = ["values", "bulk", "connect", "close", "errors", "broker", "hostile", "old", "command", "demo"];
/** A short part of them, which is run by name only. */
const FIRST = "first";

const only = process.env.INTEROP_ONLY?.split(",") ?? CASES;
const unknown = only.filter((name) => ![...CASES, FIRST].includes(name));
if (unknown.length > 0) throw new Error(`INTEROP_ONLY names ${unknown}; there are ${[...CASES, FIRST]}`);

before(setUp);
after(tearDown);
for (const name of only) (await import(`./cases/${name}.mjs`)).default();
