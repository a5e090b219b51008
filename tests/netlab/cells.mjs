// What the matrices of this laboratory share: a list of cells, each of which runs alone.
//
//     node SCRIPT list       the cells, one a line
//     node SCRIPT run N      runs one (from 0), and prints its row; status 1: it failed
import { alone, isAlone } from "./lab.mjs";

/** Characters of a row that failed. */
const FAILURE_MAX = 600;

/** `title`: of a cell. `run`: runs one; the end of its row, and whether it passed. */
export async function main(script, cells, title, run) {
  const [what, number] = process.argv.slice(2);
  const cell = cells[number];
  if (what === "list") {
    for (const it of cells) console.log(title(it));
  } else if (what === "run" && cell && isAlone()) {
    console.log(JSON.stringify(await outcome(() => run(cell))));
    process.exit(0);
  } else if (what === "run" && cell) {
    const { row, passed } = await outcome(() => JSON.parse(alone(script, what, number)));
    console.log(`${title(cell)} | ${row}`);
    process.exitCode = passed ? 0 : 1;
  } else {
    console.error(`usage: node ${script} list | run N`);
    process.exitCode = 2;
  }
}

async function outcome(run) {
  try {
    return await run();
  } catch (error) {
    const why = error.message.trim().replace(/\s+/g, " ").replaceAll("|", "/");
    return { row: `failed | – | ${why.slice(0, FAILURE_MAX)}`, passed: false };
  }
}
