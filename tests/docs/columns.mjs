// No comment of the Rust sources and of TOML, and no line of the pages has more than 100 columns.
// Exempt are rows of tables, addresses, and examples with a text in them. Code is rustfmt's.
//
//     node tests/docs/columns.mjs
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const COLUMNS = 100;
const SCOPE = ["*.rs", "*.toml", "*.md", ":!tests/results"];

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard", ...SCOPE], { cwd: ROOT, encoding: "utf8" });

let checked = 0;
let failed = 0;
for (const file of files.split("\0").filter(Boolean)) {
  const comment = file.endsWith(".toml") ? /^\s*#/ : /^\s*\/\/[/!]?/;
  checked += 1;
  let fenced = false; // an example, which is code
  for (const [index, line] of readFileSync(join(ROOT, file), "utf8").split("\n").entries()) {
    const text = line.replace(comment, "").trim();
    const isText = !fenced && (file.endsWith(".md") || comment.test(line));
    if (text.startsWith("```")) fenced = !fenced;
    if ([...line].length <= COLUMNS) continue;
    if (isText ? text.startsWith("|") || /^\S*https?:\/\/\S+$/.test(text) : /\.(rs|toml)$/.test(file) || line.includes('"')) continue;
    failed += 1;
    console.log(`${file}:${index + 1}: ${[...line].length} columns`);
  }
}
console.log(`${failed === 0 ? "ok" : "MISSED"}: ${checked} files with at most ${COLUMNS} columns`);
process.exit(failed === 0 && checked > 0 ? 0 : 1);
