// What it costs to load the package, and how soon a program ends.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startBroker } from "../dist/esm/testing/index.js";
import { median, number, printGoal, printSetting } from "./support.mjs";

const runs = Number(process.env.RUNS ?? 25);
printSetting("startup", { RUNS: runs }, "synced; medians of as many processes");
const root = fileURLToPath(new URL("..", import.meta.url));
const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
printGoal("package, unpacked", packed.unpackedSize / 1000, { atMost: 500, unit: "KB" });

const folder = mkdtempSync(join(tmpdir(), "npayload-startup-"));
const esm = new URL("../dist/esm/index.js", import.meta.url).href;
const cjs = fileURLToPath(new URL("../dist/cjs/index.js", import.meta.url));
const builtins = ["net", "tls", "crypto", "zlib", "fs", "async_hooks"];
const loads = {
  "import of node:net and node:crypto": 'await Promise.all([import("node:net"), import("node:crypto")]);',
  "import of all that the package imports": `await Promise.all([${builtins.map((name) => `import("node:${name}")`).join(", ")}]);`,
  "import of the package": `await import(${JSON.stringify(esm)});`,
  "require of the package": `createRequire(import.meta.url)(${JSON.stringify(cjs)});`,
};
const found = {};
for (const [what, load] of Object.entries(loads)) {
  const file = join(folder, `${what.replaceAll(/\W/g, "-")}.mjs`);
  writeFileSync(
    file,
    `import { createRequire } from "node:module";
    const cpu = process.cpuUsage();
    const began = performance.now();
    ${load}
    const ms = performance.now() - began;
    const { user, system } = process.cpuUsage(cpu);
    console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000 }));`,
  );
  const all = Array.from({ length: runs }, () => JSON.parse(execFileSync(process.execPath, [file], { encoding: "utf8" })));
  found[what] = { ms: median(all.map(({ ms }) => ms)), cpuMs: median(all.map(({ cpuMs }) => cpuMs)) };
  console.log(`${what.padEnd(40)} ${number(found[what].ms).padStart(6)} ms, CPU ${number(found[what].cpuMs).padStart(6)} ms`);
}
printGoal("import", found["import of the package"].ms, { atMost: 40, unit: "ms" });
printGoal("require", found["require of the package"].ms, { atMost: 40, unit: "ms" });

const broker = await startBroker();
const file = join(folder, "dispose.mjs");
writeFileSync(
  file,
  `import { NPayload } from ${JSON.stringify(esm)};
  const np = new NPayload();
  await np.messages.publish({ channelId: "dispose", payload: 1 });
  const tail = np.streams.tail({ streamId: "dispose" });
  await tail.next();
  tail.next();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await np[Symbol.asyncDispose]();
  await np[Symbol.asyncDispose]();
  process.stdout.write(String(performance.timeOrigin + performance.now()));`,
);
const waits = [];
for (let run = 0; run < runs; run += 1) waits.push(await sinceDisposal());
console.log(`a program with an open tail, from its disposal to the end of its process: ${number(Math.min(...waits))} to ${number(Math.max(...waits))} ms`);
printGoal("end of a program with an open tail after disposal", median(waits), { atMost: 100, unit: "ms" });

const starts = [];
for (let run = 0; run < runs; run += 1) {
  const began = performance.now();
  const fresh = await startBroker();
  starts.push(performance.now() - began);
  await fresh.stop();
}
printGoal("startBroker() of the test entry", median(starts), { atMost: 300, unit: "ms" });
await broker.stop();
rmSync(folder, { recursive: true });

function sinceDisposal() {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, NPAYLOAD_URL: broker.url } });
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));
    let ended = 0;
    child.on("exit", () => (ended = performance.timeOrigin + performance.now()));
    child.on("close", (code) => (code === 0 ? resolve(ended - Number(printed)) : reject(new Error(`it ended with ${code}`))));
  });
}
