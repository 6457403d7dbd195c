import type { OffsetCodec, OffsetType } from "../offset.js";
import type { PublishAnswer } from "../wire/messages.js";
import type { BatchAck, PublishAck } from "./ack.js";

/** Told once of what became of a batch. */
export interface Outcome {
  resolve(answer: PublishAnswer): void;
  reject(error: Error): void;
}

/**
 * What becomes of records that were published one by one and share a batch. They hang on one promise and one function, which
 * takes them in their order: so a record that waits takes its own promise, and nothing else.
 */
export class RecordOutcomes<O extends OffsetType> implements Outcome {
  private settle!: (result: PublishAnswer | Error) => void;
  private readonly settled = new Promise<PublishAnswer | Error>((resolve) => (this.settle = resolve));
  /** How many there are, how many were told, and how many of those were appended. */
  private count = 0;
  private told = 0;
  private appended = 0;
  /** Those that the batch is sent without, and why. */
  private refused: Map<number, Error> | undefined;

  constructor(
    private readonly channel: string,
    private readonly offsets: OffsetCodec<O>,
  ) {}

  /** The promise of one record more. */
  add(): Promise<PublishAck<O>> {
    this.count += 1;
    return this.settled.then(this.tell);
  }

  resolve(answer: PublishAnswer): void {
    this.settle(answer);
  }

  reject(error: Error): void {
    this.settle(error);
  }

  /** Goes on with these of the records that the batch has, by their places in it; the others are refused. */
  keepOnly(places: readonly number[], error: Error): void {
    const refused = (this.refused ??= new Map<number, Error>());
    const kept = new Set(places);
    for (let index = 0, place = 0; index < this.count; index += 1) {
      if (refused.has(index)) continue;
      if (!kept.has(place)) refused.set(index, error);
      place += 1;
    }
  }

  private readonly tell = (result: PublishAnswer | Error): PublishAck<O> => {
    const refusal = this.refused?.get(this.told);
    this.told += 1;
    if (refusal !== undefined) throw refusal;
    if (result instanceof Error) throw result;
    const { level, appendTime, duplicate, logEpoch, incarnation } = result;
    const offset = this.offsets.at(result.firstOffset, this.appended);
    this.appended += 1;
    return { channel: this.channel, offset, level, appendTime, duplicate, logEpoch, incarnation };
  };
}

/** What becomes of records that were published as one batch. */
export class BatchOutcome<O extends OffsetType> implements Outcome {
  reject!: (error: Error) => void;
  private accept!: (ack: BatchAck<O>) => void;
  readonly settled = new Promise<BatchAck<O>>((resolve, reject) => {
    this.accept = resolve;
    this.reject = reject;
  });

  constructor(
    private readonly channel: string,
    private readonly offsets: OffsetCodec<O>,
  ) {}

  resolve(answer: PublishAnswer): void {
    try {
      this.accept(batchAck(this.channel, answer, this.offsets));
    } catch (error) {
      this.reject(error as Error);
    }
  }
}

/** What a client hands out for an appended batch. */
export function batchAck<O extends OffsetType>(channel: string, answer: PublishAnswer, offsets: OffsetCodec<O>): BatchAck<O> {
  const { level, appendTime, duplicate, logEpoch, incarnation } = answer;
  return {
    channel,
    firstOffset: offsets.of(answer.firstOffset),
    lastOffset: offsets.of(answer.lastOffset),
    count: Number(answer.lastOffset - answer.firstOffset) + 1,
    level,
    appendTime,
    duplicate,
    logEpoch,
    incarnation,
  };
}
