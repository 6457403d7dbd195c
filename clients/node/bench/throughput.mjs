// Messages a second against a broker on the loopback address.
import { NPayload } from "../dist/esm/index.js";
import { startBroker } from "../dist/esm/testing/index.js";
import { feedback, measure, pipelined, printGoal, printSetting } from "./support.mjs";

const bytes = Number(process.env.BYTES ?? 256);
const count = Number(process.env.COUNT ?? 1_000_000);
const runs = Number(process.env.RUNS ?? 3);
const window = Number(process.env.WINDOW ?? 5_000);
const durability = process.env.DURABILITY ?? "synced";
printSetting("throughput", { COUNT: count, BYTES: bytes, RUNS: runs, WINDOW: window, DURABILITY: durability }, `${durability}; medians`);

const broker = await startBroker();
const np = new NPayload({ url: broker.url });
const channelId = "bench";
await np.channels.create({ name: channelId, durability });
const payload = feedback(bytes);
const raw = Buffer.from(JSON.stringify(payload));
const type = "inference.feedback";
const timed = (name, messages, run, times = runs) => measure(name, messages, raw.length, times, run);

await pipelined(50_000, window, () => np.messages.publish({ channelId, type, payload: raw }));
await timed("publish, one awaited after the other", 2_000, () => pipelined(2_000, 1, () => np.messages.publish({ channelId, type, payload: raw })), 1);
const published = await timed(`publish, ${window} not awaited, bytes`, count, () => pipelined(count, window, () => np.messages.publish({ channelId, type, payload: raw })));
printGoal("publish pipelined", published, { atLeast: 250_000, unit: "messages/s" });
await timed(`publish, ${window} not awaited, objects as JSON`, count, () => pipelined(count, window, () => np.messages.publish({ channelId, type, payload })));
const messages = Array.from({ length: 1000 }, () => ({ type, payload: raw }));
await timed("publishBatch of 1,000, 8 not awaited", count, () => pipelined(count / 1000, 8, () => np.messages.publishBatch({ channelId, messages })));

async function consumeAll(use) {
  let seen = 0;
  for (let fromOffset = 0; seen < count; ) {
    const read = await np.streams.consume({ streamId: channelId, fromOffset });
    for (const message of read) use(message);
    seen += read.messages.length;
    fromOffset = read.nextOffset;
  }
}
async function tailAll(use) {
  let seen = 0;
  for await (const message of np.streams.tail({ streamId: channelId, fromOffset: 0 })) {
    use(message);
    seen += 1;
    if (seen === count) break;
  }
}
async function tailBatches(use) {
  let seen = 0;
  for await (const batch of np.streams.tail({ streamId: channelId, fromOffset: 0 }).batches()) {
    for (const message of batch) use(message);
    seen += batch.length;
    if (seen >= count) break;
  }
}
let sum = 0;
const asBytes = ({ offset, bytes }) => (sum += offset + bytes.length);
const asJson = (message) => (sum += message.json().prediction);
const consumed = await timed("consume, offsets and bytes", count, () => consumeAll(asBytes));
printGoal("consume raw", consumed, { atLeast: 1_000_000, unit: "messages/s" });
const parsed = await timed("consume, .json()", count, () => consumeAll(asJson));
printGoal("consume with .json()", parsed, { atLeast: 400_000, unit: "messages/s" });
await timed("tail, for await, bytes", count, () => tailAll(asBytes));
await timed("tail, for await, .json()", count, () => tailAll(asJson));
const tailed = await timed("tail, batches, bytes", count, () => tailBatches(asBytes));
printGoal("tail raw", tailed, { atLeast: 1_000_000, unit: "messages/s" });
const tailParsed = await timed("tail, batches, .json()", count, () => tailBatches(asJson));
printGoal("tail with .json()", tailParsed, { atLeast: 400_000, unit: "messages/s" });
if (!(sum > 0)) throw new Error("nothing was read");
await np.close();
await broker.stop();
