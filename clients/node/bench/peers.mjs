// The same work by this client, kafkajs and the NATS JetStream client, each with its own broker, one after the other.
// Compared is equal durability only: an acknowledged message is in the page cache. npayload's `synced` is shown besides.
import { feedback, measure, pipelined, printGoal, printSetting, number } from "./support.mjs";
import { installPeers } from "./peers/install.mjs";
import { kafkajsPeer, natsPeer, npayloadPeer } from "./peers/clients.mjs";

const bytes = Number(process.env.BYTES ?? 256);
const count = Number(process.env.COUNT ?? 100_000);
const runs = Number(process.env.RUNS ?? 3);
const window = Number(process.env.WINDOW ?? 5_000);
const installed = installPeers();
printSetting("peers", { COUNT: count, BYTES: bytes, RUNS: runs, WINDOW: window }, "written (in the page cache) for all that are compared; medians");
console.log(`peers       Kafka ${installed.kafkaVersion}, nats-server ${installed.natsVersion}, one partition or stream, no compression`);

const type = "inference.feedback";
const raw = Buffer.from(JSON.stringify(feedback(bytes)));
const batch = Array.from({ length: 1000 }, () => raw);
const starts = [
  () => npayloadPeer(type, "written"),
  () => npayloadPeer(type, "synced"),
  installed.kafkaJars && (() => kafkajsPeer(type, installed.kafkaJars)),
  installed.natsServer && (() => natsPeer(type, installed.natsServer)),
];
const rates = [];
let sum = 0;
for (const start of starts.filter(Boolean)) {
  const peer = await start();
  const rate = { name: peer.name };
  await pipelined(Math.min(20_000, count), window, () => peer.publish(raw));
  rate["publish, not awaited"] = await measure(`${peer.name}: publish, ${window} not awaited`, count, raw.length, runs, () => pipelined(count, window, () => peer.publish(raw)));
  if (peer.publishBatch !== undefined) {
    const calls = count / 1000;
    rate["publish by 1,000"] = await measure(`${peer.name}: batches of 1,000, 8 not awaited`, count, raw.length, runs, () => pipelined(calls, 8, () => peer.publishBatch(batch)));
  }
  rate["read, bytes"] = await reading(peer, "read, bytes", (offset, data) => (sum += offset + data.length));
  rate["read, JSON"] = await reading(peer, "read, JSON", (_, __, message) => (sum += peer.json(message).prediction));
  await peer.stop();
  rates.push(rate);
}
if (!(sum > 0)) throw new Error("nothing was read");

const [own] = rates;
for (const peer of rates.slice(2)) {
  for (const what of ["publish, not awaited", "publish by 1,000", "read, bytes", "read, JSON"]) {
    if (peer[what] !== undefined) printGoal(`${what}, against ${peer.name} (${number(own[what])} and ${number(peer[what])})`, own[what] / peer[what], { atLeast: 3, unit: "times" });
  }
}

/** The median rate of reading; a client that has to get ready first tells how long the reading itself took. */
async function reading(peer, what, use) {
  const told = [];
  const rate = await measure(`${peer.name}: ${what}`, count, raw.length, runs, async () => {
    const seconds = await peer.read(count, use);
    if (seconds !== undefined) told.push(count / seconds);
  });
  if (told.length === 0) return rate;
  const own = told.sort((a, b) => a - b)[told.length >> 1];
  console.log(`${"".padEnd(46)} ${number(own).padStart(10)} messages/s from its first message on`);
  return own;
}
