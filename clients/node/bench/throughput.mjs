// Messages a second against a broker on the loopback address: `npm run build && NPAYLOAD_BIN=… npm run bench`.
// Prints what the figures were measured with, since none means anything without.
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { existsSync } from "node:fs";
import { NPayload } from "../dist/esm/index.js";
import { startBroker } from "../dist/esm/testing/index.js";

const bytes = Number(process.env.BYTES ?? 256);
const count = Number(process.env.COUNT ?? 1_000_000);
const durability = process.env.DURABILITY ?? "synced";
const release = fileURLToPath(new URL("../../../target/release/npayload", import.meta.url));
process.env.NPAYLOAD_BIN ??= existsSync(release) ? release : release.replace("release", "debug");

const [cpu] = cpus();
console.log(`machine     ${cpu?.model}, ${cpus().length} cores for client and broker, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`);
console.log(`command     COUNT=${count} BYTES=${bytes} DURABILITY=${durability} NPAYLOAD_BIN=${process.env.NPAYLOAD_BIN} npm run bench`);
console.log(`durability  ${durability}; every figure is one run`);

const broker = await startBroker();
const np = new NPayload({ url: broker.url });
const channelId = "bench";
await np.channels.create({ name: channelId, durability });

const payload = { modelId: "pricing-model-v3", prediction: 0.87, actual: 0.91, note: "" };
payload.note = "x".repeat(Math.max(0, bytes - JSON.stringify(payload).length));
const raw = Buffer.from(JSON.stringify(payload));

async function measure(name, messages, run) {
  globalThis.gc?.();
  const cpuBefore = process.cpuUsage();
  const began = process.hrtime.bigint();
  await run();
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const { user, system } = process.cpuUsage(cpuBefore);
  const cpuNs = Math.round(((user + system) * 1000) / messages);
  const rate = Math.round(messages / seconds);
  const rss = Math.round(process.memoryUsage().rss / 2 ** 20);
  console.log(`${name.padEnd(44)} ${rate.toLocaleString("en").padStart(12)} messages/s  ${((rate * raw.length) / 1e6).toFixed(0).padStart(6)} MB/s  client CPU ${String(cpuNs).padStart(7)} ns each  RSS ${rss} MiB`);
}

/** Publishes with a window of calls that are not acknowledged yet. */
async function pipelined(messages, window, what) {
  let failed;
  let pending = 0;
  let wake;
  for (let n = 0; n < messages; n += 1) {
    pending += 1;
    np.messages.publish({ channelId, type: "inference.feedback", payload: what }).then(done, (error) => {
      failed = error;
      done();
    });
    if (pending >= window) await new Promise((resolve) => (wake = resolve));
    if (failed) throw failed;
  }
  while (pending > 0) await new Promise((resolve) => (wake = resolve));
  if (failed) throw failed;
  function done() {
    pending -= 1;
    wake?.();
    wake = undefined;
  }
}

await pipelined(20_000, 5_000, raw);
await measure("publish, one awaited after the other", 2_000, async () => {
  for (let n = 0; n < 2_000; n += 1) await np.messages.publish({ channelId, payload: raw });
});
await measure("publish, pipelined, bytes", count, () => pipelined(count, 20_000, raw));
await measure("publish, pipelined, objects as JSON", count / 2, () => pipelined(count / 2, 20_000, payload));
await measure("publishBatch of 1,000", count, async () => {
  const messages = Array.from({ length: 1000 }, () => ({ type: "inference.feedback", payload: raw }));
  const open = new Set();
  for (let n = 0; n < count; n += 1000) {
    const ack = np.messages.publishBatch({ channelId, messages }).finally(() => open.delete(ack));
    open.add(ack);
    if (open.size >= 8) await Promise.race(open);
  }
  await Promise.all(open);
});

async function consumeAll(use) {
  let seen = 0;
  for (let fromOffset = 0; seen < count; ) {
    const { messages, nextOffset } = await np.streams.consume({ streamId: channelId, fromOffset });
    for (const message of messages) use(message);
    seen += messages.length;
    fromOffset = nextOffset;
  }
}
let sum = 0;
await measure("consume, offsets and bytes", count, () => consumeAll((message) => (sum += message.offset + message.bytes.length)));
await measure("consume, payloads from JSON", count, () => consumeAll((message) => (sum += message.payload.prediction)));
await measure("tail, for await, bytes", count, async () => {
  let seen = 0;
  for await (const message of np.streams.tail({ streamId: channelId, fromOffset: 0 })) {
    sum += message.bytes.length;
    seen += 1;
    if (seen === count) break;
  }
});
await measure("tail, batches, bytes", count, async () => {
  let seen = 0;
  for await (const messages of np.streams.tail({ streamId: channelId, fromOffset: 0 }).batches()) {
    for (const message of messages) sum += message.bytes.length;
    seen += messages.length;
    if (seen >= count) break;
  }
});
if (!(sum > 0)) throw new Error("nothing was read");
await np.close();
await broker.stop();
