import { readStoredBatch, producerOf } from "../batch/stored.js";
import type { Requester } from "../connection/requester.js";
import { SequenceTooOldError } from "../errors/index.js";
import { FETCH } from "../wire/kinds.js";
import { decodeFetchAnswer, encodeFetch, type FetchFrom, type PublishAnswer } from "../wire/messages.js";

/** The batch that is looked for. */
export interface Wanted {
  readonly channel: string;
  readonly incarnation: string | undefined;
  readonly producerId: Buffer;
  readonly epoch: number;
  readonly sequence: number;
}

/**
 * Finds the offsets of a batch that is known to be in the log, by its producer and sequence: reads from `from`, or the log
 * start, to the end as it is.
 */
export async function locate(requester: Requester, wanted: Wanted, from: bigint | undefined): Promise<PublishAnswer> {
  const { channel, incarnation, producerId, epoch, sequence } = wanted;
  const info = await requester.json<{ config: { durability: "synced" | "written" } }>("channel.info", { name: channel }, {}, { idempotent: true });
  let next: FetchFrom = from === undefined ? { kind: "start" } : { kind: "offset", offset: from };
  for (;;) {
    const request = encodeFetch({ channel, incarnation, from: next, lastEpoch: 0n, maxBytes: 4 << 20, minBytes: 0, maxWaitMs: 0 });
    const { batches } = decodeFetchAnswer(await requester.binary(FETCH, "fetch", [request], {}, { idempotent: true }));
    if (batches.length === 0) {
      const message = "the broker reported the batch as appended, but the channel does not hold it";
      throw new SequenceTooOldError({ code: SequenceTooOldError.code, number: 211, message, retryable: false });
    }
    for (let at = 0; at < batches.length; ) {
      const batch = readStoredBatch(batches, at);
      const producer = producerOf(batch);
      if (producer.id.equals(producerId) && producer.epoch === epoch && producer.sequence === BigInt(sequence)) {
        return {
          firstOffset: batch.baseOffset,
          lastOffset: batch.endOffset - 1n,
          appendTime: batch.appendTime,
          logEpoch: batch.logEpoch,
          incarnation: batch.incarnation,
          level: info.config.durability,
          duplicate: true,
        };
      }
      next = { kind: "offset", offset: batch.endOffset };
      at += batch.bytes.length;
    }
  }
}
