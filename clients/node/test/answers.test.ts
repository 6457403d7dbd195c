import { afterEach, describe, expect, test } from "vitest";
import { producerOf, readStoredBatch } from "../src/batch/stored.js";
import { AT, BODY_FROM } from "../src/batch/layout.js";
import { crc32 } from "../src/batch/crc32.js";
import {
  ConnectionLostError,
  InternalError,
  JournalFailedError,
  KeyRevokedError,
  type Message,
  NPayload,
  ProtocolError,
  RateLimitedError,
  UnknownProducerError,
  UnsafeOffsetError,
} from "../src/index.js";
import { readMessages } from "../src/message.js";
import { NUMBER_OFFSETS } from "../src/offset.js";
import { BodyReader, BodyWriter } from "../src/wire/body.js";
import { FETCH, KINDS, PUBLISH } from "../src/wire/kinds.js";
import { until } from "./support/client.js";
import { type Asked, startFakeBroker } from "./support/fake-broker.js";

const INCARNATION = "00112233445566778899aabbccddeeff";

/** The batch of a publish, as the broker would store it. */
function batchOf({ body }: Asked, baseOffset = 0n): { stored: Buffer; epoch: number; sequence: number; records: number } {
  const reader = new BodyReader(body);
  reader.str();
  const stored = Buffer.from(body.subarray(reader.at + 25));
  Buffer.from(INCARNATION, "hex").reverse().copy(stored, AT.incarnation);
  stored.writeBigUInt64LE(baseOffset, AT.baseOffset);
  stored.writeUInt32LE(crc32(stored.subarray(8, BODY_FROM), crc32(stored.subarray(0, 4))), AT.headerCrc);
  const batch = readStoredBatch(stored, 0);
  const { epoch, sequence } = producerOf(batch);
  return { stored, epoch, sequence: Number(sequence), records: batch.recordCount };
}

function ack(first: bigint, records: number, duplicate = 0): Buffer {
  const writer = new BodyWriter(50).u64(first).u64(first + BigInt(records) - 1n).u64(1_700_000_000_123n).u64(3n);
  return writer.incarnation(INCARNATION).u8(2).u8(duplicate).finish();
}

describe("answers", () => {
  const opened: { close(): unknown }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
  });

  async function scripted(onAsked: (asked: Asked) => void, options: object = {}, fake: { pings?: boolean; directoryId?: () => string } = {}) {
    const broker = await startFakeBroker(onAsked, fake);
    const np = new NPayload({ url: broker.url, minDelayMs: 1, maxDelayMs: 5, ...options });
    opened.push(np, broker);
    return { broker, np };
  }

  test("of a broker that falls silent are not waited for", async () => {
    const { np, broker } = await scripted(() => {}, { keepAliveMs: 20, maxRetries: 0 }, { pings: false });
    await expect(np.broker.info()).rejects.toThrow(/said nothing for 60 ms/);
    expect(broker.pinged).toBeGreaterThan(0);
  });

  test("that take long are waited for while the broker answers pings", async () => {
    let asked: Asked | undefined;
    const { np, broker } = await scripted((one) => void (asked = one), { keepAliveMs: 20 });
    const scrubbed = np.broker.scrub();
    // Silent for three times that long, it would be given up.
    await until(() => broker.pinged > 4);
    asked?.answer({ passes: 1 });
    expect(await scrubbed).toEqual({ passes: 1 });
    expect(broker.asked).toBe(1);
  });

  test("that belong to no request end the connection with what they say", async () => {
    const { np } = await scripted((asked) => asked.announce("KEY_REVOKED"));
    await expect(np.broker.info()).rejects.toThrow(KeyRevokedError);
  });

  test("of another kind are an error", async () => {
    const { np } = await scripted((asked) => asked.answer(Buffer.from([1])));
    await expect(np.messages.publish({ channelId: "a", payload: 1 })).rejects.toThrow(ProtocolError);
  });

  test("that a retry may better are asked for again", async () => {
    const { np } = await scripted((asked) => {
      if (asked.number < 3) asked.refuse("RATE_LIMITED", { retryAfterMs: 30 });
      else if (asked.kind === PUBLISH) asked.answer(ack(7n, 1));
      else asked.answer({ key: {}, secret: "s" });
    });
    expect((await np.messages.publish({ channelId: "a", payload: 1 })).offset).toBe(7);
    expect((await np.keys.create({ name: "k", scopes: [] })).secret).toBe("s");
  });

  test("that a retry may better are errors once the retries are used up, and nothing behind is lost", async () => {
    const { np } = await scripted((asked) => {
      if (asked.number < 3) asked.refuse("RATE_LIMITED");
      else asked.answer(ack(0n, 1));
    }, { maxRetries: 1 });
    await expect(np.messages.publish({ channelId: "a", payload: 1 })).rejects.toThrow(RateLimitedError);
    expect((await np.messages.publish({ channelId: "a", payload: 2 })).offset).toBe(0);
  });

  test("that were lost are asked for again only where that cannot do a thing twice", async () => {
    const { np, broker } = await scripted((asked) => {
      if (asked.number <= 2) asked.cut();
      else asked.answer({ keys: [] });
    });
    await expect(np.keys.create({ name: "k", scopes: [] })).rejects.toThrow(ConnectionLostError);
    expect(broker.asked).toBe(1);
    expect(await np.keys.list()).toEqual([]);
    expect(broker.asked).toBe(3);
  });

  test("to a payment that were lost are asked for again under its id, and of no other data directory", async () => {
    const ids: string[] = [];
    let directory = "0".repeat(32);
    const { np, broker } = await scripted(
      (asked) => {
        ids.push((JSON.parse(asked.body.toString()) as { id: string }).id);
        if (asked.number !== 1 && asked.number !== 3) return asked.answer({ available: 5 });
        if (asked.number === 3) directory = "1".repeat(32);
        asked.cut();
      },
      {},
      { directoryId: () => directory },
    );
    expect(await np.asp.escrow.deposit({ amount: 5, currency: "EUR" })).toEqual({ available: 5 });
    expect(ids[0]).toMatch(/^pay_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/);
    expect(ids).toEqual([ids[0], ids[0]]);
    await expect(np.asp.escrow.withdraw({ amount: 5, currency: "EUR" })).rejects.toThrow(ConnectionLostError);
    expect(broker.asked).toBe(3);
  });

  test("that somebody else has used an id are asked for again under another one, where nobody keeps it", async () => {
    const sessionId = "ses_01998a2b-0c3d-7e4f-8001-02030405abcd";
    const ids: string[] = [];
    const { np } = await scripted((asked) => {
      const { id } = JSON.parse(asked.body.toString()) as { id: string };
      ids.push(id);
      if (ids.length % 2 === 1) asked.refuse("COMMITMENT_ID_TAKEN");
      else asked.answer({ id, offsets: [] });
    });
    const promise = { sessionId, agentId: "writer", description: "ten answers", deadline: 1 };
    const { id } = await np.asp.commitments.create(promise);
    expect(id).toBe(ids[1]);
    expect(new Set(ids).size).toBe(2);
    // They end as the session's, and so name its region.
    expect(ids.every((one) => /^cmt_.*-7.*abcd$/.test(one))).toBe(true);
    await expect(np.asp.commitments.create({ ...promise, id })).rejects.toMatchObject({ code: "COMMITMENT_ID_TAKEN" });
    expect(ids).toHaveLength(3);
  });

  test("that tell of an unknown producer begin a new epoch, where nothing can be stored twice by it", async () => {
    const seen: [number, number][] = [];
    const { np } = await scripted((asked) => {
      const { epoch, sequence, records } = batchOf(asked);
      seen.push([epoch, sequence]);
      if (asked.number === 2) asked.refuse("UNKNOWN_PRODUCER");
      else asked.answer(ack(BigInt(asked.number), records));
    });
    await np.messages.publish({ channelId: "a", payload: 1 });
    await np.messages.publish({ channelId: "a", payload: 2 });
    expect(seen).toEqual([[1, 0], [1, 1], [2, 0]]);
  });

  test("that tell of an unknown producer are an error where an earlier try may have been stored", async () => {
    const { np } = await scripted((asked) => {
      if (asked.number === 1) asked.answer(ack(0n, 1));
      else if (asked.number === 2) asked.cut();
      else asked.refuse("UNKNOWN_PRODUCER");
    });
    await np.messages.publish({ channelId: "a", payload: 1 });
    await expect(np.messages.publish({ channelId: "a", payload: 2 })).rejects.toThrow(UnknownProducerError);
  });

  test("that a retry is too old for are found in the channel", async () => {
    let stored: Buffer = Buffer.alloc(0);
    const { np } = await scripted((asked) => {
      if (asked.kind === PUBLISH && asked.number === 1) {
        ({ stored } = batchOf(asked, 41n));
        asked.cut();
      } else if (asked.kind === PUBLISH) asked.refuse("SEQUENCE_TOO_OLD");
      else if (asked.kind === FETCH) asked.answer(fetched(stored));
      else if (asked.kind === KINDS["channel.info"]) asked.answer({ config: { durability: "synced" } });
    });
    expect(await np.messages.publish({ channelId: "a", payload: 1 })).toMatchObject({ offset: 41, duplicate: true, level: "synced" });
  });

  test("that leave it open whether something was stored fail all that was sent, and are not asked for again", async () => {
    const { np, broker } = await scripted((asked) => asked.refuse("JOURNAL_FAILED"), { batchRecords: 1 });
    const outcomes = await Promise.allSettled([1, 2, 3].map((payload) => np.messages.publish({ channelId: "a", payload })));
    for (const outcome of outcomes) expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(JournalFailedError);
    expect(broker.asked).toBe(3);
    await expect(np.broker.info()).rejects.toThrow(JournalFailedError);
  });

  test("that do not come in time fail what waits for them, not what is more patient", async () => {
    const held: Asked[] = [];
    const { np } = await scripted((asked) => void held.push(asked));
    await np.connect();
    const patient = np.messages.publish({ channelId: "a", payload: 0 });
    const hasty = np.messages.publish({ channelId: "a", payload: 1 }, { timeoutMs: 300 });
    const behind = np.messages.publish({ channelId: "a", payload: 2 });
    await expect(hasty).rejects.toMatchObject({ code: "REQUEST_TIMEOUT", details: { timeoutMs: 300 } });
    expect(held.map((asked) => batchOf(asked).sequence)).toEqual([0, 1, 2]);
    for (const [n, asked] of held.entries()) asked.answer(ack(BigInt(n), 1));
    expect([(await patient).offset, (await behind).offset]).toEqual([0, 2]);
    // Nobody waits for one that never left either.
    const lone = np.messages.publish({ channelId: "b", payload: 3 }, { timeoutMs: 300 });
    await expect(lone).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" });
    const after = np.messages.publish({ channelId: "b", payload: 4 });
    await until(() => held.length === 5);
    expect(held.slice(3).map((asked) => [batchOf(asked).epoch, batchOf(asked).sequence])).toEqual([[1, 0], [2, 0]]);
    held[4]?.answer(ack(9n, 1));
    expect((await after).offset).toBe(9);
  });

  test("that do not come in time, of what was never sent, leave no hole in the sequence", async () => {
    const held: Asked[] = [];
    const { np } = await scripted((asked) => void held.push(asked), { maxInFlight: 2 });
    await np.connect();
    const publish = (payload: number, timeoutMs?: number) => np.messages.publish({ channelId: "a", payload, expectedOffset: payload }, { timeoutMs });
    const first = publish(0);
    const second = publish(1);
    const never = publish(2, 300);
    const last = publish(3);
    await expect(never).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" });
    for (const [n, asked] of held.splice(0).entries()) asked.answer(ack(BigInt(n), 1));
    await Promise.all([first, second]);
    await until(() => held.length === 1);
    expect(batchOf(held[0] as Asked)).toMatchObject({ epoch: 1, sequence: 2 });
    held[0]?.answer(ack(2n, 1));
    expect((await last).offset).toBe(2);
  });

  test("make room for what waits, and nothing overtakes it", async () => {
    const held: Asked[] = [];
    const { np } = await scripted((asked) => void held.push(asked), { maxQueuedBytes: 3000 });
    await np.connect();
    const acks = [1000, 2500, 10].map((bytes) => np.messages.publish({ channelId: "a", payload: Buffer.alloc(bytes) }));
    // The last would fit beside the first, but the second does not.
    for (const [asked, records] of [[1, 1], [2, 1], [3, 1]] as const) {
      await until(() => held.length === asked);
      expect(batchOf(held[asked - 1] as Asked)).toMatchObject({ epoch: 1, sequence: asked - 1, records });
      held[asked - 1]?.answer(ack(BigInt(asked - 1), records));
    }
    expect((await Promise.all(acks)).map(({ offset }) => offset)).toEqual([0, 1, 2]);
  });

  test("that could not be asked for in time, since there was no connection, leave no hole either", async () => {
    const gone = await startFakeBroker(() => {});
    const port = Number(new URL(gone.url.replace("npayload:", "http:")).port);
    gone.close();
    const np = new NPayload({ url: gone.url, minDelayMs: 1, maxDelayMs: 5, connectTimeoutMs: 60_000, batchRecords: 1 });
    opened.push(np);
    const hasty = np.messages.publish({ channelId: "a", payload: 0 }, { timeoutMs: 30 });
    const patient = [1, 2].map((payload) => np.messages.publish({ channelId: "a", payload }));
    await expect(hasty).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" });
    const seen: number[] = [];
    opened.push(await startFakeBroker((asked) => {
      const { sequence } = batchOf(asked);
      seen.push(sequence);
      asked.answer(ack(BigInt(sequence), 1));
    }, { port }));
    expect((await Promise.all(patient)).map(({ offset }) => offset)).toEqual([0, 1]);
    expect(seen).toEqual([0, 1]);
  });

  test("with another number of offsets than records are an error", async () => {
    const { np } = await scripted((asked) => asked.answer(ack(5n, 2)));
    await expect(np.messages.publish({ channelId: "a", payload: 1 })).rejects.toThrow(/1 records was acknowledged with the offsets 5 to 6/);
  });

  test("with offsets above 2^53 - 1 are a typed error, or bigints", async () => {
    const script = (asked: Asked): void => {
      if (asked.kind === PUBLISH) asked.answer(ack(2n ** 53n, 1));
      else asked.answer(Buffer.from('{"offset":9007199254740993,"logStart":0,"highWatermark":0,"logEnd":0,"logEpoch":562949953421312000,"incarnation":"00"}'));
    };
    const { np } = await scripted(script);
    await expect(np.messages.publish({ channelId: "a", payload: 1 })).rejects.toThrow(UnsafeOffsetError);
    await expect(np.streams.offsetAt({ streamId: "a", at: { end: true } })).rejects.toThrow(UnsafeOffsetError);
    const { broker } = await scripted(script);
    const big = new NPayload({ url: broker.url, offsets: "bigint" });
    opened.unshift(big);
    expect((await big.messages.publish({ channelId: "a", payload: 1 })).offset).toBe(2n ** 53n);
    expect(await big.streams.offsetAt({ streamId: "a", at: { end: true } })).toMatchObject({ offset: 9007199254740993n, logEpoch: 562949953421312000n });
  });

  test("that are errors end a tail after what came before", async () => {
    const { np } = await scripted((asked) => {
      if (asked.kind === PUBLISH) return asked.answer(ack(0n, 1));
      asked.refuse("INTERNAL");
    });
    const tail = np.streams.tail({ streamId: "a" });
    await expect(tail.next()).rejects.toThrow(InternalError);
    expect(await tail.next()).toEqual({ value: undefined, done: true });
  });

  test("to batches that had to be sent again find them as they were, though buffers are filled again", async () => {
    const published: number[] = [];
    let next = 0;
    let records = 0;
    const { np } = await scripted(
      (asked) => {
        if (asked.kind !== PUBLISH) return asked.answer({});
        // Checks the sums of the batch too.
        const { stored, sequence, records: count } = batchOf(asked);
        if (asked.number % 7 === 3) return asked.refuse("TIMEOUT");
        if (sequence < next) return asked.answer(ack(BigInt(sequence), count, 1));
        if (sequence > next) return asked.refuse("SEQUENCE_GAP");
        const messages: Message<number>[] = [];
        readMessages(messages, "a", readStoredBatch(stored, 0), NUMBER_OFFSETS, { from: 0n, to: BigInt(count) });
        published.push(...messages.map(({ payload }) => payload));
        next += count;
        records += count;
        // Stored, and the answer lost.
        if (asked.number % 11 === 5) asked.cut();
        else asked.answer(ack(BigInt(records - count), count));
      },
      { batchBytes: 4096 },
    );
    const all = Array.from({ length: 20_000 }, (_, n) => n);
    const offsets: number[] = [];
    let taken = 0;
    const publish = async (): Promise<void> => {
      for (let n = taken++; n < all.length; n = taken++) offsets[n] = (await np.messages.publish({ channelId: "a", payload: n })).offset;
    };
    await Promise.all(Array.from({ length: 1500 }, publish));
    expect(offsets).toEqual(all);
    expect(published).toEqual(all);
  });
});

function fetched(batches: Buffer): Buffer {
  const writer = new BodyWriter(56 + batches.length).incarnation(INCARNATION);
  return writer.u64(0n).u64(42n).u64(42n).u64(0n).u64(3n).bytes(batches).finish();
}
