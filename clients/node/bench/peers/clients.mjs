import { NPayload } from "../../dist/esm/index.js";
import { startBroker } from "../../dist/esm/testing/index.js";
import { startKafka, startNats } from "./brokers.mjs";

/*
 * One adapter for each client: `publish` one message, `publishBatch` as many at a time as the client can send in one
 * call, `read` all that is there with a function that is given each message's offset, bytes and a way to its JSON.
 */

export async function npayloadPeer(type, durability) {
  const broker = await startBroker();
  const np = new NPayload({ url: broker.url });
  await np.channels.create({ name: "bench", durability });
  return {
    name: `npayload, ${durability}`,
    publish: (payload) => np.messages.publish({ channelId: "bench", type, payload }),
    publishBatch: (payloads) => np.messages.publishBatch({ channelId: "bench", messages: payloads.map((payload) => ({ type, payload })) }),
    async read(count, use) {
      let seen = 0;
      for await (const batch of np.streams.tail({ streamId: "bench", fromOffset: 0 }).batches()) {
        for (const message of batch) use(message.offset, message.bytes, message);
        seen += batch.length;
        if (seen >= count) return;
      }
    },
    json: (message) => message.json(),
    async stop() {
      await np.close();
      await broker.stop();
    },
  };
}

export async function kafkajsPeer(type, jars) {
  const { Kafka, logLevel, Partitioners } = await import("kafkajs");
  const broker = await startKafka(jars);
  const kafka = new Kafka({ brokers: [`127.0.0.1:${broker.port}`], logLevel: logLevel.NOTHING, retry: { retries: 30 } });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: "bench", numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const headers = { type };
  let groups = 0;
  return {
    name: "kafkajs 2, Kafka, page cache",
    publish: (payload) => producer.send({ topic: "bench", messages: [{ value: payload, headers }] }),
    publishBatch: (payloads) => producer.send({ topic: "bench", messages: payloads.map((value) => ({ value, headers })) }),
    async read(count, use) {
      groups += 1;
      const consumer = kafka.consumer({ groupId: `bench-${groups}`, maxBytesPerPartition: 4 << 20 });
      await consumer.connect();
      await consumer.subscribe({ topic: "bench", fromBeginning: true });
      let seen = 0;
      let began = 0;
      await new Promise((resolve, reject) => {
        const eachBatch = async ({ batch }) => {
          // Joining the group is not what is measured.
          began ||= performance.now();
          for (const message of batch.messages) use(Number(message.offset), message.value, message);
          seen += batch.messages.length;
          if (seen >= count) resolve();
        };
        consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch }).catch(reject);
      });
      const seconds = (performance.now() - began) / 1000;
      await consumer.disconnect();
      return seconds;
    },
    json: (message) => JSON.parse(message.value.toString("utf8")),
    async stop() {
      await producer.disconnect();
      await broker.stop();
    },
  };
}

export async function natsPeer(type, binary) {
  const { connect } = await import("@nats-io/transport-node");
  const { jetstream, jetstreamManager } = await import("@nats-io/jetstream");
  const server = await startNats(binary);
  const connection = await connect({ servers: `127.0.0.1:${server.port}` });
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name: "bench", subjects: ["bench.>"], storage: "file" });
  const js = jetstream(connection, { timeout: 60_000 });
  const subject = `bench.${type}`;
  return {
    name: "NATS JetStream 3, files",
    publish: (payload) => js.publish(subject, payload, { timeout: 60_000 }),
    async read(count, use) {
      const consumer = await js.consumers.get("bench");
      const messages = await consumer.consume({ max_messages: 10_000 });
      let seen = 0;
      for await (const message of messages) {
        use(message.seq, message.data, message);
        seen += 1;
        if (seen >= count) break;
      }
      messages.stop();
    },
    json: (message) => message.json(),
    async stop() {
      await connection.close();
      await server.stop();
    },
  };
}
