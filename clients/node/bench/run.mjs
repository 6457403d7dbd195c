// Runs the benches that are named, or all of them, and lists the goals at the end: `npm run bench`, `npm run bench -- memory`.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const ALL = ["startup", "cancel", "throughput", "memory", "faults", "runtimes", "peers"];
const named = process.argv.slice(2);
const unknown = named.filter((name) => !ALL.includes(name));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(", ")}: there are ${ALL.join(", ")}`);
  process.exit(2);
}
const goals = [];
const failed = [];
for (const name of named.length > 0 ? named : ALL) {
  console.log(`\n== ${name}`);
  if ((await bench(name)) !== 0) failed.push(name);
}
console.log(`\n== goals\n${goals.join("\n")}`);
for (const name of failed) console.log(`goal        MISSED ${name} did not run to its end`);
process.exitCode = failed.length > 0 ? 1 : 0;

/** Runs one, prints what it prints, and resolves to its exit code. */
function bench(name) {
  const file = fileURLToPath(new URL(`${name}.mjs`, import.meta.url));
  const child = spawn(process.execPath, ["--expose-gc", file], { stdio: ["ignore", "pipe", "inherit"] });
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    process.stdout.write(text);
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    goals.push(...lines.filter((line) => line.startsWith("goal ")));
  });
  return new Promise((resolve) => child.on("close", resolve));
}
