// What a client holds while a program does not keep up. Each part is a process of its own, so that none hides behind what
// another had taken already.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { NPayload } from "../dist/esm/index.js";
import { startBroker } from "../dist/esm/testing/index.js";
import { mebibytes, printGoal, printSetting } from "./support.mjs";

const backlogBytes = Number(process.env.BACKLOG ?? 1 << 30);
const publishes = Number(process.env.PUBLISHES ?? 1_000_000);
const sleepSeconds = Number(process.env.SLEEP_SECONDS ?? 20);
const MIB = 2 ** 20;
const parts = { sleepingTail, bareFlood, flood, unobservedFlood, awaitedFlood, timer };

if (process.argv[2] === undefined) {
  printSetting("memory", { BACKLOG: backlogBytes, PUBLISHES: publishes, SLEEP_SECONDS: sleepSeconds }, "synced; RSS of a process that does nothing else");
  const broker = await startBroker();
  const np = new NPayload({ url: broker.url });
  const messages = Array.from({ length: 1000 }, () => ({ payload: Buffer.alloc(1024, 120) }));
  for (let bytes = 0; bytes < backlogBytes; bytes += 1024_000) await np.messages.publishBatch({ channelId: "backlog", messages });
  await np.close();
  const self = fileURLToPath(import.meta.url);
  const env = { ...process.env, NPAYLOAD_URL: broker.url };
  for (const part of Object.keys(parts)) {
    const printed = execFileSync(process.execPath, ["--expose-gc", self, part], { encoding: "utf8", stdio: ["inherit", "pipe", "inherit"], env });
    process.stdout.write(printed);
    if (part === "bareFlood") [, env.BARE_MIB] = /RSS at most (\d+) MiB/.exec(printed);
  }
  await broker.stop();
} else {
  const np = new NPayload();
  await np.connect();
  globalThis.gc?.();
  await parts[process.argv[2]](np);
  await np.close();
}

/** Watches the RSS until it is told to stop, and returns the highest. */
function watch() {
  const before = process.memoryUsage.rss();
  let most = before;
  const look = () => (most = Math.max(most, process.memoryUsage.rss()));
  const ticking = setInterval(look, 20);
  return {
    look,
    stop: () => {
      clearInterval(ticking);
      look();
      return { before, most, grown: most - before };
    },
  };
}

async function sleepingTail(np) {
  const memory = watch();
  let seen = 0;
  const until = Date.now() + sleepSeconds * 1000;
  for await (const { bytes } of np.streams.tail({ streamId: "backlog" })) {
    if (bytes.length !== 1024) throw new Error("another payload");
    seen += 1;
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (Date.now() > until) break;
  }
  const { before, most, grown } = memory.stop();
  console.log(`a tail over ${mebibytes(backlogBytes)} that sleeps 1 ms for each message, ${sleepSeconds} s: ${seen} messages seen, RSS ${mebibytes(before)} to ${mebibytes(most)}`);
  printGoal("sleeping consumer, RSS growth", grown / MIB, { atMost: 32, unit: "MiB" });
}

/** What the promises of such a program take by themselves: they are the program's own, whatever rejects them. */
async function bareFlood() {
  const memory = watch();
  const rejected = Promise.reject(new Error("refused"));
  let pending = publishes;
  let allSettled;
  const settled = new Promise((resolve) => (allSettled = resolve));
  const settle = () => (pending -= 1) === 0 && allSettled();
  for (let n = 0; n < publishes; n += 1) {
    rejected.then(settle, settle);
    if (n % 1000 === 0) memory.look();
  }
  await settled;
  console.log(`${publishes} promises in one go that are rejected, without the client: RSS at most ${mebibytes(memory.stop().most)}`);
}

/** Never yields, so what does not fit is refused at once. */
async function flood(np) {
  const memory = watch();
  const outcome = { acked: 0, full: 0 };
  let pending = publishes;
  let allSettled;
  const settled = new Promise((resolve) => (allSettled = resolve));
  const settle = () => (pending -= 1) === 0 && allSettled();
  const onAck = () => ((outcome.acked += 1), settle());
  const onError = (error) => {
    if (error.code !== "QUEUE_FULL" || !error.retryable) throw error;
    outcome.full += 1;
    settle();
  };
  const payload = Buffer.alloc(256, 120);
  for (let n = 0; n < publishes; n += 1) {
    np.messages.publish({ channelId: "flood", payload }).then(onAck, onError);
    if (n % 1000 === 0) memory.look();
  }
  await settled;
  const { most } = memory.stop();
  const { logEnd } = await np.channels.get({ channelId: "flood" });
  console.log(`${publishes} publishes in one go, none awaited: ${outcome.acked} acknowledged and ${logEnd} stored, ${outcome.full} refused as QUEUE_FULL, RSS at most ${mebibytes(most)}`);
  if (logEnd !== outcome.acked || outcome.acked + outcome.full !== publishes) throw new Error("not all settled as they should");
  printGoal("publishes in one go, RSS beyond that of their promises", most / MIB - Number(process.env.BARE_MIB ?? 0), { atMost: 48, unit: "MiB" });
}

/** The same, but nobody looks at what becomes of them, so that what is refused leaves nothing. */
async function unobservedFlood(np) {
  const memory = watch();
  process.on("unhandledRejection", (error) => {
    if (error.code !== "QUEUE_FULL") throw error;
  });
  const payload = Buffer.alloc(256, 120);
  for (let n = 0; n < publishes; n += 1) {
    np.messages.publish({ channelId: "unobserved", payload });
    if (n % 1000 === 0) memory.look();
  }
  // Behind all that was taken.
  const last = () => np.messages.publish({ channelId: "unobserved", payload }).catch(() => new Promise((resolve) => setTimeout(resolve, 1)).then(last));
  const { offset } = await last();
  const { most } = memory.stop();
  console.log(`${publishes} publishes in one go, nobody looks at them: ${offset} stored, the others refused, RSS at most ${mebibytes(most)}`);
  printGoal("publishes in one go that nobody looks at, RSS", most / MIB, { atMost: 128, unit: "MiB" });
}

/** Lets the event loop turn now and then, as a program that reads its input does, and repeats what was refused. */
async function awaitedFlood(np) {
  const memory = watch();
  let acked = 0;
  let refused = 0;
  let waiting = [];
  const payload = Buffer.alloc(256, 120);
  const publish = (n) =>
    np.messages.publish({ channelId: "awaited", payload }).then(
      () => (acked += 1),
      (error) => {
        if (!error.retryable) throw error;
        refused += 1;
        return new Promise((resolve) => setTimeout(resolve, 1)).then(() => publish(n));
      },
    );
  for (let n = 0; n < publishes; n += 1) {
    waiting.push(publish(n));
    if (waiting.length === 20_000) {
      await Promise.all(waiting);
      waiting = [];
    }
  }
  await Promise.all(waiting);
  const { most } = memory.stop();
  const { logEnd } = await np.channels.get({ channelId: "awaited" });
  console.log(`${publishes} publishes, awaited by 20,000: ${acked} acknowledged, ${refused} repeated, RSS at most ${mebibytes(most)}`);
  if (logEnd !== publishes) throw new Error(`${logEnd} stored`);
  printGoal("publishes awaited by thousands, RSS", most / MIB, { atMost: 160, unit: "MiB" });
}

async function timer(np) {
  const delays = [];
  let last = performance.now();
  const ticking = setInterval(() => {
    const now = performance.now();
    delays.push(now - last - 10);
    last = now;
  }, 10);
  let seen = 0;
  for await (const { bytes } of np.streams.tail({ streamId: "backlog" })) {
    seen += bytes.length;
    if (seen >= backlogBytes * 0.9) break;
  }
  clearInterval(ticking);
  delays.sort((a, b) => a - b);
  const late = delays[Math.floor(delays.length * 0.99)] ?? Infinity;
  console.log(`a 10 ms timer beside a tail at full rate: ${delays.length} ticks, late by ${delays.at(-1)?.toFixed(1)} ms at most`);
  printGoal("timer beside a tail, late at p99", late, { atMost: 30, unit: "ms" });
}
