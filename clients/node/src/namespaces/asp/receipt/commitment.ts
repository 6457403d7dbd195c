import { canonicalJson } from "../canonical.js";
import { digestOf } from "./digest.js";
import { type Commitment, type Created, type Delivered, isSame, LATE, must, NOT_ALLOWED, NOT_DUE, type PartyId, type State, type Stepped, type Voice } from "./records.js";

type Step = "accept" | "reject" | "withdraw" | "expire" | "confirm" | "shorten" | "lapse" | "breach";

/** The steps that records of their own type take. */
export const STEPS: Readonly<Record<string, Step>> = {
  "commitment.accepted": "accept",
  "commitment.rejected": "reject",
  "commitment.withdrawn": "withdraw",
  "commitment.expired": "expire",
  "commitment.confirmed": "confirm",
  "commitment.windowShortened": "shorten",
  "commitment.silenceConfirmed": "lapse",
  "commitment.breached": "breach",
};

/** Who may take a step in which states, and which state follows: the table of docs/asp.md. */
const TABLE: Readonly<Record<Step, { readonly voice: Voice; readonly in: readonly State[]; readonly to?: State }>> = {
  accept: { voice: "judge", in: ["proposed"], to: "active" },
  reject: { voice: "judge", in: ["proposed"], to: "rejected" },
  withdraw: { voice: "obligor", in: ["proposed"], to: "withdrawn" },
  expire: { voice: "clock", in: ["proposed"], to: "expired" },
  confirm: { voice: "judge", in: ["delivered"], to: "fulfilled" },
  shorten: { voice: "judge", in: ["active", "delivered"] },
  lapse: { voice: "clock", in: ["delivered"], to: "fulfilled" },
  breach: { voice: "clock", in: ["active"], to: "breached" },
};

const LATE_DELIVERY: readonly State[] = ["breached", "disputed", "resolved"];
const DISPUTABLE: readonly State[] = ["delivered", "breached", "disputed"];

/** What a record that creates a commitment begins. */
export function begin(created: Created, offset: number): Commitment {
  const { promise, judge, mode } = created;
  must((judge === "counterparty") === (promise.counterparty !== undefined), "a named counterparty judges, and nobody else where there is one");
  must(promise.counterparty?.agent !== promise.obligor.agent, "nobody promises to oneself");
  must(mode !== "agreed" || judge !== "nobody", "there is nobody who could accept it");
  must(created.termsHash === digestOf("npayload/asp/terms/1\n", canonicalJson(promise)), "its hash is not that of the promise");
  const commitment: Commitment = { created, judge, offsets: [offset], state: mode === "agreed" ? "proposed" : "active", windowMs: promise.windowMs };
  if (promise.counterparty !== undefined) commitment.counterparty = promise.counterparty;
  return commitment;
}

/** When the clock does something to it; undefined where it does not. */
export function dueOf(commitment: Commitment): number | undefined {
  const { created, state, windowUntil, ended, ruled } = commitment;
  switch (state) {
    case "proposed":
    case "active":
      return created.promise.deadline;
    case "delivered":
      return windowUntil;
    case "breached":
      return claimsUntil(commitment);
    case "resolved":
      return Math.max(claimsUntil(commitment) ?? -Infinity, ruled?.at ?? -Infinity);
    case "disputed":
      return undefined;
    default:
      return ended?.at;
  }
}

/** Whether the clock has a step to take before it closes. */
export function hasClockStep({ state }: Commitment): boolean {
  return state === "proposed" || state === "active" || state === "delivered";
}

/** Until when a breach can be disputed and delivered late. */
function claimsUntil({ state, disputed, ended, created }: Commitment): number | undefined {
  const before = disputed?.state ?? state;
  const isBreach = before === "breached" || (before === "resolved" && ended !== undefined);
  return isBreach && ended !== undefined ? ended.at + created.claimMs : undefined;
}

export function deliver(commitment: Commitment, delivered: Delivered, offset: number): void {
  const late = LATE_DELIVERY.includes(commitment.state);
  must(late || commitment.state === "active", NOT_ALLOWED);
  isOnTime(commitment, delivered.at);
  must(commitment.delivery === undefined, "a late delivery comes once");
  must(delivered.evidenceHash === digestOf("npayload/asp/evidence/1\n", canonicalJson(delivered.evidence)), "its hash is not that of the evidence");
  commitment.delivery = { at: delivered.at, evidenceHash: delivered.evidenceHash, late, offset };
  commitment.offsets.push(offset);
  if (late) return;
  if (commitment.judge === "nobody") {
    commitment.state = "fulfilled";
    commitment.ended = { at: delivered.at, confirmation: "unjudged" };
  } else {
    commitment.state = "delivered";
    commitment.windowUntil = delivered.at + commitment.windowMs;
  }
}

/** Any other step that is no dispute. */
export function take(commitment: Commitment, step: Step, stepped: Stepped, offset: number): void {
  const { voice, in: states, to } = TABLE[step];
  must(stepped.role === voice && states.includes(commitment.state), NOT_ALLOWED);
  must(isSaidBy(commitment, stepped), "it is not said by whom it says");
  const due = dueOf(commitment);
  if (step === "breach" || step === "lapse") must(due !== undefined && due <= stepped.at, NOT_DUE);
  else if (step !== "expire") isOnTime(commitment, stepped.at);
  must((stepped.shortenedTo !== undefined) === (step === "shorten"), "a window that is shortened has a new length, and no other");
  if (step === "accept") {
    commitment.accepted = stepped.at;
    if (stepped.party !== undefined) commitment.counterparty = stepped.party;
    commitment.judge = "counterparty";
  } else if (step === "shorten") {
    const ms = stepped.shortenedTo ?? 0;
    must(ms > 0 && ms < commitment.windowMs, "a window is only made shorter");
    if (commitment.windowUntil !== undefined) commitment.windowUntil -= commitment.windowMs - ms;
    commitment.windowMs = ms;
  } else {
    commitment.ended = { at: stepped.at };
    if (step === "confirm") commitment.ended.confirmation = "explicit";
    if (step === "lapse") commitment.ended.confirmation = "silent";
    if (stepped.party !== undefined) commitment.ended.party = stepped.party;
  }
  if (to !== undefined) commitment.state = to;
  commitment.offsets.push(offset);
}

/** That a dispute about it is filed. */
export function suspend(commitment: Commitment, at: number, role: Voice, offset: number): void {
  must(DISPUTABLE.includes(commitment.state) && (role === "judge" || role === "participant"), NOT_ALLOWED);
  isOnTime(commitment, at);
  commitment.disputed ??= { at, delivered: commitment.delivery !== undefined, open: 0, state: commitment.state };
  commitment.disputed.open += 1;
  commitment.state = "disputed";
  commitment.offsets.push(offset);
}

/** That a dispute about it has ended, with what was ruled where that went against the obligor. */
export function settle(commitment: Commitment, at: number, ruled: Commitment["ruled"]): void {
  if (ruled !== undefined && (commitment.ruled === undefined || isHeavier(ruled, commitment.ruled))) commitment.ruled = ruled;
  const { disputed } = commitment;
  if (disputed === undefined) return;
  disputed.open -= 1;
  if (disputed.open > 0) return;
  delete commitment.disputed;
  if (commitment.ruled !== undefined) {
    commitment.state = "resolved";
    return;
  }
  commitment.state = disputed.state;
  // Whoever judges loses no time to the disputes of others.
  if (commitment.windowUntil !== undefined) commitment.windowUntil += at - disputed.at;
}

const WEIGHTS = { dismissed: 0, partial: 1, upheld: 2 } as const;

function isHeavier(a: NonNullable<Commitment["ruled"]>, b: NonNullable<Commitment["ruled"]>): boolean {
  const verdicts = WEIGHTS[a.verdict] - WEIGHTS[b.verdict];
  return verdicts === 0 ? a.severity > b.severity : verdicts > 0;
}

function isSaidBy({ created, counterparty, judge }: Commitment, { role, party, by }: Stepped): boolean {
  const { obligor } = created.promise;
  if (role === "clock") return party === undefined && by === undefined;
  if (party === undefined) return false;
  if (role === "obligor") return isSame(party, obligor);
  if (party.agent === obligor.agent) return false;
  const named: PartyId | undefined = judge === "counterparty" ? counterparty : undefined;
  return role !== "judge" || named === undefined || isSame(named, party);
}

function isOnTime(commitment: Commitment, at: number): void {
  const due = dueOf(commitment);
  must(due === undefined || due > at, LATE);
}
