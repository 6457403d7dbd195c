import { cpus, totalmem } from "node:os";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const target = (profile) => fileURLToPath(new URL(`../../../target/${profile}/npayload`, import.meta.url));

/** Names the broker's program to all that a bench starts: the one that NPAYLOAD_BIN names, else the release build, else the debug build. */
export function findBroker() {
  process.env.NPAYLOAD_BIN ||= [target("release"), target("debug")].find((path) => existsSync(path)) ?? "npayload";
  return process.env.NPAYLOAD_BIN;
}

/** Prints what the figures that follow were measured with, since none means anything without. */
export function printSetting(script, settings, durability) {
  const [cpu] = cpus();
  const given = Object.entries(settings).map(([name, value]) => `${name}=${value} `).join("");
  console.log(`machine     ${cpu?.model}, ${cpus().length} cores for client and broker, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`);
  console.log(`command     ${given}NPAYLOAD_BIN=${findBroker()} node bench/run.mjs ${script}`);
  console.log(`durability  ${durability}`);
}

/** Prints a figure beside its goal; `run.mjs` gathers these lines. */
export function printGoal(what, value, { atLeast, atMost, unit }) {
  const isMet = atLeast === undefined ? value <= atMost : value >= atLeast;
  const goal = atLeast === undefined ? `at most ${number(atMost)}` : `at least ${number(atLeast)}`;
  console.log(`goal        ${isMet ? "met   " : "MISSED"} ${what}: ${number(value)} ${unit} (${goal})`);
}

export function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 });
}

export function mebibytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

export function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** A payload as feedback on a model has it, of so many bytes of JSON. */
export function feedback(bytes) {
  const payload = { modelId: "pricing-model-v3", prediction: 0.87, actual: 0.91, note: "" };
  payload.note = "x".repeat(Math.max(0, bytes - JSON.stringify(payload).length));
  return payload;
}

/** Calls `publish` so many times, with at most `window` calls that are not settled yet. */
export async function pipelined(count, window, publish) {
  let failed;
  let pending = 0;
  let wake;
  const done = () => {
    pending -= 1;
    const waiting = wake;
    wake = undefined;
    waiting?.();
  };
  const fail = (error) => {
    failed = error;
    done();
  };
  for (let n = 0; n < count; n += 1) {
    pending += 1;
    publish(n).then(done, fail);
    while (pending >= window) await new Promise((resolve) => (wake = resolve));
    if (failed) throw failed;
  }
  while (pending > 0) await new Promise((resolve) => (wake = resolve));
  if (failed) throw failed;
}

/** Runs something `runs` times; prints and returns the median rate, with the client's CPU time for each message. */
export async function measure(name, messages, bytes, runs, run) {
  const rates = [];
  const cpuTimes = [];
  for (let n = 0; n < runs; n += 1) {
    globalThis.gc?.();
    const cpuBefore = process.cpuUsage();
    const began = process.hrtime.bigint();
    await run();
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    const { user, system } = process.cpuUsage(cpuBefore);
    rates.push(messages / seconds);
    cpuTimes.push(((user + system) * 1000) / messages);
  }
  const rate = median(rates);
  const spread = `${number(Math.min(...rates))} to ${number(Math.max(...rates))}`;
  const megabytes = ((rate * bytes) / 1e6).toFixed(0);
  console.log(
    `${name.padEnd(46)} ${number(rate).padStart(10)} messages/s ${megabytes.padStart(5)} MB/s, client CPU ${number(median(cpuTimes)).padStart(7)} ns each (${runs} runs: ${spread})`,
  );
  return rate;
}
