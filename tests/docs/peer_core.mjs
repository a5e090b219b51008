// What the documentation of peer-core must have: few public types, and a row of the table "Layers"
// for every module. Needs rustdoc's pages of peer-core with all features.
//
//     node tests/docs/peer_core.mjs [target/doc/peer_core]
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Public types, those of `rtc` not counted. Each is a promise: hide what none is. */
const TYPES_MAX = 53;

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const pages = process.argv[2] ?? join(ROOT, "target/doc/peer_core");

const good = [types(), layers()].every(Boolean);
process.exit(good ? 0 : 1);

/** Counts structs, enums, unions, traits and type aliases, and names them by module. */
function types() {
  const all = readFileSync(join(pages, "all.html"), "utf8");
  const modules = new Map();
  let count = 0;
  for (const [, href, path] of all.matchAll(/<a href="([^"]+)">([^<]+)<\/a>/g)) {
    if (!/(?:^|\/)(struct|enum|union|trait|type|traitalias)\.[^/]+\.html$/.test(href)) continue;
    const names = path.split("::");
    const name = names.pop();
    const module = names.join("::") || "(the crate)";
    if (names[0] === "rtc") continue;
    modules.set(module, [...(modules.get(module) ?? []), name]);
    count += 1;
  }
  if (count === 0) throw new Error(`${pages}/all.html names no type`);
  for (const [module, names] of [...modules].sort(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(`${String(names.length).padStart(3)} ${module}: ${names.sort().join(", ")}`);
  }
  console.log(`${count <= TYPES_MAX ? "ok" : "MISSED"}: public types of peer-core: ${count} of ${TYPES_MAX}`);
  return count <= TYPES_MAX;
}

/** Whether each public module of lib.rs stands in the table "Layers". */
function layers() {
  const source = readFileSync(join(ROOT, "peer-core/src/lib.rs"), "utf8");
  const [, chapter] = source.match(/^\/\/! # Layers\n((?:(?!\/\/! # ).*\n)*)/m) ?? [];
  if (chapter === undefined) throw new Error("lib.rs has no chapter \"Layers\"");
  const rows = chapter.split("\n").filter((line) => line.startsWith("//! |"));
  const modules = [...source.matchAll(/^pub mod (\w+)[;{ ]/gm)].map(([, name]) => name);
  const missing = modules.filter((name) => !rows.some((row) => row.split("|")[1].includes(`\`${name}\``)));
  console.log(missing.length === 0 ? `ok: Layers has all ${modules.length} modules` : `MISSED: Layers lacks ${missing.join(", ")}`);
  return missing.length === 0;
}
