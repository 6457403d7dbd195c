// The tests of the package on other versions of Node, on Bun and on Deno, all of which npm has.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findBroker, printSetting } from "./support.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = fileURLToPath(new URL("runtimes/", import.meta.url));
const wanted = (process.env.RUNTIMES ?? "node@20 node@22 node@24 node@26 bun@1 deno@2").split(" ");
const PRINTED = { tests: "docs/agents.md does what it says", why: "its console.log prints objects in another way than Node, which the page shows" };
const SIGNALLED = { tests: "resuming-worker: killed|the examples are all tried here", why: "its node:child_process says of a child that ended by itself after SIGTERM that the signal has ended it" };
printSetting("runtimes", { RUNTIMES: `"${wanted.join(" ")}"` }, "as each test has it");
findBroker();

for (const name of wanted) {
  const runtime = install(name);
  if (runtime === undefined) {
    console.log(`${name}: cannot be installed here`);
    continue;
  }
  const { command, program, leftOut = [] } = runtime;
  const [binary, ...flags] = command;
  const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).split("\n")[0];
  const excluded = leftOut.length === 0 ? [] : ["--testNamePattern", `^(?!.*(${leftOut.map(({ tests }) => tests).join("|")}))`];
  const run = spawnSync(binary, [...flags, "node_modules/vitest/vitest.mjs", "run", "--reporter=json", ...excluded], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, PATH: `${binary.replace(/\/[^/]*$/, "")}:${process.env.PATH}`, NO_COLOR: "1", NPAYLOAD_RUNTIME: JSON.stringify(program) },
  });
  let report;
  try {
    report = JSON.parse(run.stdout.slice(run.stdout.indexOf("{")));
  } catch {
    console.log(`goal        MISSED ${name} (${version}): the tests did not run: ${run.stderr.slice(-2000)}`);
    continue;
  }
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = report;
  const brokenFiles = testResults.filter(({ status, assertionResults }) => status === "failed" && assertionResults.every((one) => one.status !== "failed"));
  const isMet = numFailedTests === 0 && brokenFiles.length === 0;
  console.log(`goal        ${isMet ? "met   " : "MISSED"} ${name} (${version}): ${numPassedTests} tests passed, ${numFailedTests + brokenFiles.length} failed, ${numPendingTests} skipped`);
  for (const { tests, why } of leftOut) console.log(`            without ${tests}: ${why}`);
  for (const { name: file, message } of brokenFiles) console.log(`            ${file.split("/").at(-1)}: ${message}`);
  for (const { name: file, assertionResults } of testResults) {
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status === "failed") console.log(`            ${file.split("/").at(-1)}, ${fullName}: ${failureMessages[0]?.slice(0, 600)}`);
    }
  }
}

/** Installs a runtime once; returns how it runs the tests, and how it runs a program. */
function install(name) {
  const own = `${folder}${name.replace("@", "-")}`;
  if (!existsSync(`${own}/node_modules`)) {
    mkdirSync(own, { recursive: true });
    writeFileSync(`${own}/package.json`, '{ "private": true }\n');
    spawnSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", name], { cwd: own, stdio: ["ignore", "ignore", "inherit"] });
  }
  // The program lies in a package for this machine, or was moved from there when its package was installed.
  const isProgram = (path) => /^(node|deno|bun(\.exe)?)$/.test(basename(path)) && statSync(path).isFile() && statSync(path).size > 1_000_000;
  const modules = `${own}/node_modules`;
  const binary = readdirSync(modules, { recursive: true }).map((path) => join(modules, path)).find(isProgram);
  if (binary === undefined) return undefined;
  if (name.startsWith("bun")) {
    return { command: [binary, "--bun"], program: [binary], leftOut: [PRINTED] };
  }
  if (name.startsWith("deno")) {
    return { command: [binary, "run", "-A"], program: [binary, "run", "-A", "--node-modules-dir=manual"], leftOut: [PRINTED, SIGNALLED] };
  }
  return { command: [binary], program: [binary] };
}
