import { describe, expect, test } from "vitest";
import { NUMBER_OFFSETS } from "../src/offset.js";
import { BatchBuffers } from "../src/producer/buffers.js";
import { RecordOutcomes } from "../src/producer/outcome.js";
import type { PublishAnswer } from "../src/wire/messages.js";

function answer(first: number, records: number): PublishAnswer {
  const [firstOffset, lastOffset] = [BigInt(first), BigInt(first + records - 1)];
  return { firstOffset, lastOffset, appendTime: 7, logEpoch: 3n, incarnation: "ff", level: "synced", duplicate: false };
}

/** Offsets of records, or the words of their errors. */
async function told(promises: readonly Promise<{ readonly offset: number }>[]): Promise<(number | string)[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one) => (one.status === "fulfilled" ? one.value.offset : (one.reason as Error).message));
}

describe("records that share a batch", () => {
  const batch = (records: number) => {
    const outcomes = new RecordOutcomes("orders", NUMBER_OFFSETS);
    return { outcomes, promises: Array.from({ length: records }, () => outcomes.add()) };
  };

  test("are told in their order, and as soon as the batch is", async () => {
    const { outcomes, promises } = batch(4);
    const order: number[] = [];
    for (const promise of promises) void promise.then(({ offset }) => order.push(offset));
    outcomes.resolve(answer(10, 4));
    expect(await told(promises)).toEqual([10, 11, 12, 13]);
    expect(order).toEqual([10, 11, 12, 13]);
    expect(await promises[1]).toEqual({ channel: "orders", offset: 11, level: "synced", appendTime: 7, duplicate: false, logEpoch: 3n, incarnation: "ff" });
  });

  test("are refused each by its place in what was left, and the others get offsets without a hole", async () => {
    const { outcomes, promises } = batch(6);
    outcomes.keepOnly([0, 2, 3, 5], new Error("too large"));
    // Of 0, 2, 3 and 5.
    outcomes.keepOnly([0, 1, 3], new Error("still too large"));
    outcomes.resolve(answer(40, 3));
    expect(await told(promises)).toEqual([40, "too large", 41, "still too large", "too large", 42]);
  });

  test("keep their own reason where the batch fails later", async () => {
    const { outcomes, promises } = batch(3);
    outcomes.keepOnly([0, 1], new Error("too large"));
    outcomes.reject(new Error("closed"));
    expect(await told(promises)).toEqual(["closed", "closed", "too large"]);
  });

  test("that nobody asks after are no unhandled rejection of the client's own", async () => {
    const { outcomes } = batch(0);
    outcomes.reject(new Error("closed"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("buffers of batches", () => {
  test("are filled again, few of them and only those of their size", () => {
    const buffers = new BatchBuffers(1 << 20);
    const taken = Array.from({ length: 6 }, () => buffers.take());
    expect(new Set(taken.map((one) => one.buffer)).size).toBe(6);
    buffers.give(Buffer.alloc(2 << 20));
    for (const one of taken) buffers.give(one);
    const again = Array.from({ length: 6 }, () => buffers.take());
    expect(again.filter((one) => taken.includes(one))).toHaveLength(4);
    expect(again.every(({ length }) => length === 1 << 20)).toBe(true);
  });

  test("that are large are not kept", () => {
    const buffers = new BatchBuffers(8 << 20);
    const one = buffers.take();
    buffers.give(one);
    // Not `toBe`, which compares the bytes of what is not the same.
    expect(buffers.take() === one).toBe(false);
  });
});
