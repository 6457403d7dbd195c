// How soon calls reject that are aborted while a broker does not answer.
import * as net from "node:net";
import { NPayload } from "../dist/esm/index.js";
import { startBroker } from "../dist/esm/testing/index.js";
import { number, printGoal, printSetting } from "./support.mjs";

const runs = Number(process.env.RUNS ?? 50);
printSetting("cancel", { RUNS: runs }, "none: nothing is acknowledged; the slowest of all runs");
const waits = {};

/** Starts calls, aborts them, and notes how long each took to reject. */
async function abort(calls) {
  const stop = new AbortController();
  let aborted = 0;
  const settled = Object.entries(calls({ signal: stop.signal })).map(([name, call]) =>
    call.then(
      () => Promise.reject(new Error(`${name} came to its end`)),
      (error) => {
        if (error.name !== "AbortError") throw error;
        (waits[name] ??= []).push(performance.now() - aborted);
      },
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, 10));
  aborted = performance.now();
  stop.abort();
  await Promise.all(settled);
}

{
  const silent = net.createServer(() => {}).listen(0, "127.0.0.1");
  await new Promise((resolve) => silent.once("listening", resolve));
  const np = new NPayload({ url: `npayload://127.0.0.1:${silent.address().port}`, connectTimeoutMs: 600_000 });
  for (let run = 0; run < runs; run += 1) await abort((options) => ({ connect: np.connect(options) }));
  await np.close();
  silent.close();
}
const broker = await startBroker();
const np = new NPayload({ url: broker.url });
const channelId = "cancel";
await np.channels.create({ name: channelId });
process.kill(broker.pid, "SIGSTOP");
for (let run = 0; run < runs; run += 1) {
  await abort((options) => ({
    publish: np.messages.publish({ channelId, payload: run }, options),
    publishBatch: np.messages.publishBatch({ channelId, messages: [{ payload: run }] }, options),
    publishTransactional: np.messages.publishTransactional({ messages: [{ channelId, payload: run }] }, options),
    consume: np.streams.consume({ streamId: channelId }, options),
    tail: np.streams.tail({ streamId: channelId }, options).next(),
    "channels.list": np.channels.list({}, options).then(),
    "asp.registry.get": np.asp.registry.get({ agentId: "nobody" }, options),
  }));
}
process.kill(broker.pid, "SIGCONT");
await np.close();
await broker.stop();
for (const [name, all] of Object.entries(waits)) console.log(`${name.padEnd(22)} aborted ${all.length} times, rejected after at most ${number(Math.max(...all))} ms`);
printGoal("AbortError after an abort, at most", Math.max(...Object.values(waits).flat()), { atMost: 50, unit: "ms" });
