import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, SAFE, SAME_DATA } from "../context.js";
import type { Money } from "./commitment-types.js";
import { uuidV7 } from "./ids.js";

/**
 * Whose account: an agent's, an organisation's, or with neither that of one's own organisation.
 *
 * @example
 * ```ts
 * const of: AccountRequest = { agentId: "agent://acme/writer" };
 * ```
 */
export interface AccountRequest {
  readonly agentId?: string | undefined;
  readonly org?: string | undefined;
}

/**
 * Money that an operator books, once under its id.
 *
 * @example
 * ```ts
 * const payment: PaymentRequest = { id: kept.paymentId, agentId: "research-agent", amount: 25_000, currency: "EUR" };
 * ```
 */
export interface PaymentRequest extends AccountRequest, Money {
  /** `pay_` and a UUID of version 7; made unless given. Keep it with what is paid where another process may try again. */
  readonly id?: string | undefined;
  /** The region whose ledger is meant: any other refuses. */
  readonly region?: string | undefined;
}

/**
 * An account in one currency, in whole units of the smallest that it has.
 *
 * @example
 * ```ts
 * const total = ({ available, held, frozen }: EscrowAccount): number => available + held + frozen;
 * ```
 */
export interface EscrowAccount {
  readonly org: string;
  /** Missing where it is the organisation's own, as `name`. */
  readonly agentId?: string;
  readonly name?: string;
  readonly currency: string;
  readonly available: number;
  /** For promises that are not over. */
  readonly held: number;
  /** While a dispute is open. */
  readonly frozen: number;
}

/**
 * A part of an account.
 *
 * @example
 * ```ts
 * const isHeld = ({ part }: AccountPart): boolean => part !== "available";
 * ```
 */
export interface AccountPart {
  readonly org: string;
  readonly agentId?: string;
  readonly name?: string;
  readonly part: "available" | "held" | "frozen";
}

/**
 * A movement of money, from one part of an account to another, or from and to outside.
 *
 * @example
 * ```ts
 * const lost = ({ step }: EscrowEntry): boolean => step === "forfeited";
 * ```
 */
export interface EscrowEntry<O extends OffsetType = number> extends Money {
  /** Of the record, on the topic of the ledger. */
  readonly offset: O;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly step: "deposited" | "withdrawn" | "held" | "released" | "forfeited" | "frozen" | "unfrozen";
  /** Missing where it comes from outside. */
  readonly from?: AccountPart;
  /** Missing where it goes outside. */
  readonly to?: AccountPart;
  /** Who gets what is forfeited; of money that is held. */
  readonly beneficiary?: Omit<AccountPart, "part">;
  readonly commitmentId?: string;
  /** Of deposits and withdrawals that have one. */
  readonly paymentId?: string;
  /** Number of the operator's key, of deposits and withdrawals. */
  readonly by?: number;
}

/**
 * Which movements to list.
 *
 * @example
 * ```ts
 * const request: EscrowLedgerRequest = { commitmentId: commitment.id };
 * ```
 */
export interface EscrowLedgerRequest extends AccountRequest {
  /** Those for this commitment. */
  readonly commitmentId?: string | undefined;
  /** Movements of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * Money behind promises: a double-entry ledger, whose sums are whole numbers and never below nothing. The broker keeps account;
 * operators pay in and out.
 *
 * @example
 * ```ts
 * await np.asp.escrow.deposit({ agentId: "research-agent", amount: 25_000, currency: "EUR" });
 * const [account] = await np.asp.escrow.balance({ agentId: "research-agent" });
 * ```
 */
export class Escrow<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Puts money into an account, for operators: a key of the default organisation with `accessAdmin`. It is booked once under its id;
   * after a lost connection it is sent again with the same one, to the same data directory alone.
   *
   * @throws PaymentIdTakenError where the id was used for another payment.
   *
   * @example
   * ```ts
   * const { available } = await np.asp.escrow.deposit({ agentId: "research-agent", amount: 25_000, currency: "EUR" });
   * ```
   */
  deposit(request: PaymentRequest, options?: CallOptions): Promise<EscrowAccount> {
    return this.pay("escrow.deposit", request, options);
  }

  /**
   * Takes money out of an account, for operators, once under its id, as `deposit` puts it in.
   *
   * @throws InsufficientFundsError where the account has less available.
   *
   * @example
   * ```ts
   * await np.asp.escrow.withdraw({ org: "acme", amount: 2_500, currency: "EUR" });
   * ```
   */
  withdraw(request: PaymentRequest, options?: CallOptions): Promise<EscrowAccount> {
    return this.pay("escrow.withdraw", request, options);
  }

  private pay(kind: string, { id = `pay_${uuidV7()}`, ...rest }: PaymentRequest, options?: CallOptions): Promise<EscrowAccount> {
    return this.context.requester.json<EscrowAccount>(kind, { id, ...rest }, options, SAME_DATA);
  }

  /**
   * What an account holds, in one currency or in each.
   *
   * @example
   * ```ts
   * for (const { currency, available, held } of await np.asp.escrow.balance()) console.log(currency, available, held);
   * ```
   */
  async balance(request: AccountRequest & { readonly currency?: string | undefined } = {}, options?: CallOptions): Promise<readonly EscrowAccount[]> {
    return (await this.context.requester.json<{ accounts: EscrowAccount[] }>("escrow.balance", request, options, SAFE)).accounts;
  }

  /**
   * What happened to accounts, newest first: the first page when awaited, all with `for await`.
   *
   * @example
   * ```ts
   * for await (const { step, amount, currency } of np.asp.escrow.ledger({ commitmentId: commitment.id })) {
   *   console.log(step, amount, currency); // forfeited 25000 EUR, held 25000 EUR
   * }
   * ```
   */
  ledger(request: EscrowLedgerRequest = {}, options?: CallOptions): Paged<EscrowEntry<O>> {
    return new Paged(async (cursor) => {
      type Answer = { entries: EscrowEntry<OffsetType>[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("escrow.ledger", { ...request, cursor }, options, SAFE);
      const { offsets } = this.context;
      return new Page(answer.entries.map((row) => ({ ...row, offset: offsets.ofJson(row.offset, "offset") })), answer.cursor);
    });
  }
}
