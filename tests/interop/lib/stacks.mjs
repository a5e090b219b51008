// What a stack cannot do, by tests/stacks.toml: a listed test has to fail, and no other one may.
//
//   node stacks.mjs STACK RUN     writes the names of the tests of a run that the stack cannot pass
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const KEYS = ["stack", "run", "test", "why"];
const RUNS = ["unit", "interop", "others"];

/** The few words of TOML that the list is written in. */
function parse(text) {
  const entries = [];
  for (const line of text.split("\n").filter((line) => line.trim() && !line.startsWith("#"))) {
    const [, key, value] = line.match(/^([a-z]+) = ("(?:[^"\\]|\\.)*")$/) ?? [];
    if (line === "[[cannot]]") entries.push({});
    else if (KEYS.includes(key) && entries.length > 0) entries.at(-1)[key] = JSON.parse(value);
    else throw new Error(`tests/stacks.toml: what is ${line}`);
  }
  for (const entry of entries) {
    const complete = KEYS.every((key) => entry[key]) && RUNS.includes(entry.run);
    if (!complete) throw new Error(`tests/stacks.toml: ${JSON.stringify(entry)} has not all of ${KEYS}, or no run of ${RUNS}`);
  }
  return entries;
}

const LIST = parse(readFileSync(new URL("../../stacks.toml", import.meta.url), "utf8"));
const of = (stack, run) => LIST.filter((entry) => entry.stack === stack && entry.run === run);

/** Why the stack cannot pass this test, or undefined: it has to. */
export function cannot(stack, run, test) {
  return of(stack, run).find((entry) => entry.test === test)?.why;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { test } of of(...process.argv.slice(2))) console.log(test);
}
