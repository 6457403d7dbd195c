// What the client holds while a program does not keep up: `npm run build && NPAYLOAD_BIN=… node --expose-gc bench/memory.mjs`.
import { NPayload } from "../dist/esm/index.js";
import { startBroker } from "../dist/esm/testing/index.js";

const backlogBytes = Number(process.env.BACKLOG ?? 1 << 30);
const publishes = Number(process.env.PUBLISHES ?? 1_000_000);
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const rss = () => (globalThis.gc?.(), process.memoryUsage().rss);

console.log(`command  BACKLOG=${backlogBytes} PUBLISHES=${publishes} node --expose-gc bench/memory.mjs, Node ${process.version}`);
const broker = await startBroker();

{
  const np = { client: new NPayload({ url: broker.url }) };
  const messages = Array.from({ length: 1000 }, () => ({ payload: Buffer.alloc(1024, 120) }));
  for (let bytes = 0; bytes < backlogBytes; bytes += 1024_000) await np.client.messages.publishBatch({ channelId: "backlog", messages });
  await np.client.close();
}
{
  const np = { client: new NPayload({ url: broker.url }) };
  await np.client.connect();
  const before = rss();
  let most = before;
  let seen = 0;
  const until = Date.now() + 10_000;
  for await (const { bytes } of np.client.streams.tail({ streamId: "backlog" })) {
    seen += 1;
    if (bytes.length !== 1024) throw new Error("another payload");
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (seen % 100 === 0) most = Math.max(most, process.memoryUsage().rss);
    if (Date.now() > until) break;
  }
  console.log(`a tail over ${mib(backlogBytes)} that sleeps 1 ms for each message, 10 s: RSS grew by ${mib(most - before)} (${seen} messages seen)`);
  await np.client.close();
}
{
  const np = { client: new NPayload({ url: broker.url }) };
  await np.client.connect();
  const before = rss();
  let [acked, full, most] = [0, 0, before];
  let pending = publishes;
  let allSettled;
  const settled = new Promise((resolve) => (allSettled = resolve));
  const settle = () => (pending -= 1) === 0 && allSettled();
  const onAck = () => ((acked += 1), settle());
  const onError = (error) => {
    if (error.code !== "QUEUE_FULL") throw error;
    full += 1;
    settle();
  };
  const payload = Buffer.alloc(256, 120);
  for (let n = 0; n < publishes; n += 1) {
    np.client.messages.publish({ channelId: "flood", payload }).then(onAck, onError);
    if (n % 10_000 === 0) most = Math.max(most, process.memoryUsage().rss);
  }
  await settled;
  most = Math.max(most, process.memoryUsage().rss);
  console.log(`${publishes} publishes that nobody awaits: ${acked} acknowledged, ${full} refused as QUEUE_FULL, RSS at most ${mib(most)} (${mib(most - before)} more)`);
  await np.client.close();
}
{
  const np = { client: new NPayload({ url: broker.url }) };
  const delays = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    delays.push(now - last - 10);
    last = now;
  }, 10);
  let seen = 0;
  for await (const { bytes } of np.client.streams.tail({ streamId: "backlog" })) {
    seen += bytes.length;
    if (seen >= backlogBytes / 2) break;
  }
  clearInterval(timer);
  delays.sort((a, b) => a - b);
  console.log(`a 10 ms timer beside a tail at full rate: late by ${delays[Math.floor(delays.length * 0.99)]?.toFixed(1)} ms at p99, ${delays.at(-1)?.toFixed(1)} ms at most (${delays.length} ticks)`);
  await np.client.close();
}
await broker.stop();
