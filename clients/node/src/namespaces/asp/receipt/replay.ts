import { ReceiptError } from "../../../errors/index.js";
import { canonicalJson } from "../canonical.js";
import { begin, deliver, dueOf, hasClockStep, settle, STEPS, suspend, take } from "./commitment.js";
import type { NamedMessage } from "./messages.js";
import { beginDispute, DISPUTE_EVENTS, follow, isOver } from "./dispute.js";
import { type Commitment, type Created, type Delivered, type Dispute, type DisputeEvent, type Filed, isSame, must, type PartyId, type RecordHead, Rule, type Stepped } from "./records.js";

/** A record with its place on the topic. */
export interface PlacedRecord {
  readonly offset: number;
  readonly record: Readonly<Record<string, unknown>>;
}

/** What records of one commitment make of it, and the messages that they name. */
export function replay(id: string, records: readonly PlacedRecord[]): { readonly commitment: Commitment; readonly named: readonly NamedMessage[] } {
  const state = new Replayed(id);
  let before = -1;
  for (const { offset, record } of records) {
    try {
      must(offset > before, "it stands behind one that is not before it");
      before = offset;
      state.apply(record, offset);
    } catch (error) {
      // A record that lacks what it should have breaks like one that may not follow.
      if (!(error instanceof Rule) && !(error instanceof TypeError)) throw error;
      const rule = error instanceof Rule ? error.message : "it cannot be read";
      throw new ReceiptError(`the record at offset ${offset} cannot follow: ${rule}`, { details: { offset }, cause: error });
    }
  }
  if (state.commitment === undefined) throw new ReceiptError(`it has no record of commitment ${id}`);
  return { commitment: state.commitment, named: state.named };
}

class Replayed {
  commitment: Commitment | undefined;
  readonly named: NamedMessage[] = [];
  private readonly disputes = new Map<string, Dispute>();
  private at = -Infinity;

  constructor(private readonly id: string) {}

  apply(record: Readonly<Record<string, unknown>>, offset: number): void {
    const { type, v, ...content } = record as unknown as RecordHead;
    must(typeof type === "string" && v === 1 && Number.isSafeInteger(content.at), "it cannot be read");
    must(content.at >= this.at, "its time lies before that of the record before it");
    this.at = content.at;
    if (type === "commitment.closed") return this.close(content as never);
    must((content as unknown as Created).commitment === this.id && this.commitment?.closed === undefined, `it is not about commitment ${this.id} before its close`);
    if (type === "commitment.created" || type === "commitment.proposed") {
      const created = content as unknown as Created;
      must(this.commitment === undefined, "the commitment is there already");
      must(type === (created.mode === "agreed" ? "commitment.proposed" : "commitment.created"), "the mode is said twice, and differs");
      this.commitment = begin(created, offset);
      this.name(type, created, created.promise.obligor);
      return;
    }
    const { commitment } = this;
    must(commitment !== undefined, "there is no such commitment that is not closed");
    const step = STEPS[type];
    if (type === "commitment.delivered") deliver(commitment, content as unknown as Delivered, offset);
    else if (step !== undefined) this.stepped(commitment, type, content as unknown as Stepped, offset);
    else if (type === "dispute.filed") this.file(commitment, content as unknown as Filed, offset);
    else if (DISPUTE_EVENTS.has(type)) this.followed(commitment, type, content as unknown as DisputeEvent, offset);
    else throw new Rule(`its type ${type} is unknown`);
  }

  private stepped(commitment: Commitment, type: string, stepped: Stepped, offset: number): void {
    take(commitment, STEPS[type] as NonNullable<(typeof STEPS)[string]>, stepped, offset);
    if (stepped.party !== undefined) this.name(type, stepped, stepped.party);
  }

  private name(type: string, { message, messageOffset }: Pick<Stepped, "message" | "messageOffset">, party: PartyId): void {
    if (message !== undefined && messageOffset !== undefined) this.named.push({ message, offset: messageOffset, party, type });
  }

  private file(commitment: Commitment, filed: Filed, offset: number): void {
    const { obligor } = commitment.created.promise;
    const before = [...this.disputes.values()];
    must(!this.disputes.has(filed.dispute), "the dispute is there already");
    must(!before.some((other) => other.filed.filer.agent === filed.filer.agent), "that agent has disputed it");
    const isJudge = commitment.counterparty?.agent === filed.filer.agent || commitment.judge === "participant";
    must(filed.filer.agent !== obligor.agent && isSame(filed.against, obligor) && (!isJudge || filed.role === "judge"), "it is not filed by whom it says");
    suspend(commitment, filed.at, filed.role, offset);
    this.disputes.set(filed.dispute, beginDispute(filed, offset));
  }

  private followed(commitment: Commitment, type: string, event: DisputeEvent, offset: number): void {
    const dispute = this.disputes.get(event.dispute);
    must(dispute !== undefined, "there is no such dispute");
    follow(dispute, type, event, offset);
    commitment.offsets.push(offset);
    if (!isOver(dispute)) return;
    const { ruling } = dispute;
    settle(commitment, event.at, ruling === undefined || ruling.verdict === "dismissed" ? undefined : ruledOf(event.dispute, ruling));
  }

  /** Nothing can happen to it any more; the record says all of it once more. */
  private close(closed: { readonly at: number; readonly commitment: { readonly created: Created }; readonly disputes?: readonly Dispute[] }): void {
    const { commitment } = this;
    must(closed.commitment.created.commitment === this.id && commitment?.closed === undefined, `it is not about commitment ${this.id} before its close`);
    must(commitment !== undefined, "there is no such commitment that is not closed");
    const due = dueOf(commitment);
    must(due !== undefined && due <= closed.at && !hasClockStep(commitment), "something can still happen to it");
    commitment.closed = true;
    const disputes = [...this.disputes.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, dispute]) => dispute);
    const isAll = canonicalJson(closed.commitment) === canonicalJson(commitment) && canonicalJson(closed.disputes ?? []) === canonicalJson(disputes);
    must(isAll, "it does not close the commitment as it is");
  }
}

function ruledOf(dispute: string, { at, mechanism, severity, verdict }: NonNullable<Dispute["ruling"]>): NonNullable<Commitment["ruled"]> {
  return { at, dispute, mechanism, severity, verdict };
}
