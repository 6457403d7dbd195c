import type { OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { type Context, SAFE } from "./context.js";

/**
 * The scrubber at work: it reads all that is stored and checks it.
 *
 * @example
 * ```ts
 * const { running, damageFound }: ScrubStatus = await np.broker.scrub();
 * ```
 */
export interface ScrubStatus {
  /** Whether a check is under way; asked for with `scrub()`, whether one was already. */
  readonly running: boolean;
  readonly channel: string | null;
  /** Below the broker's data directory. */
  readonly file: string | null;
  readonly position: number;
  readonly passBytes: number;
  /** The last pass that read everything; milliseconds since 1970. */
  readonly lastPassStartedAt: number | null;
  readonly lastPassEndedAt: number | null;
  readonly lastPassBytes: number | null;
  /** Since the broker was started. */
  readonly passes: number;
  readonly bytes: number;
  readonly damageFound: number;
  readonly indexesRebuilt: number;
  readonly readErrors: number;
  readonly faults: readonly { readonly file: string; readonly what: string; readonly errno: number | null }[];
}

/**
 * How the broker is.
 *
 * @example
 * ```ts
 * const { ok, refusals }: BrokerHealth = (await np.broker.info()).health;
 * ```
 */
export interface BrokerHealth {
  readonly ok: boolean;
  /** What an address that other machines reach lacks; only where `--insecure` has allowed that. */
  readonly insecure?: string;
  /** Why no channel takes writes; null when they do. */
  readonly writesRefused: string | null;
  readonly errno: number | null;
  readonly damagedChannels: number;
  readonly refusingChannels: number;
  readonly lockedChannels: number;
  readonly masterKey?: string;
  readonly refusals: readonly { readonly channel: string; readonly reason: string; readonly errno: number | null }[];
  readonly diskFreeBytes: number | null;
  readonly diskLimitBytes: number;
  readonly scrub: ScrubStatus | null;
}

/**
 * The broker.
 *
 * @example
 * ```ts
 * const { version, startedAt }: BrokerInfo = await np.broker.info();
 * ```
 */
export interface BrokerInfo {
  readonly version: string;
  readonly epoch: bigint;
  /** Identity of the data directory. */
  readonly directoryId: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly channels: number;
  readonly connections: number;
  readonly health: BrokerHealth;
}

/**
 * The broker itself.
 *
 * @example
 * ```ts
 * const { version, health } = await np.broker.info();
 * if (!health.ok) console.warn(health.refusals);
 * ```
 */
export class Broker<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Version, age and health of the broker.
   *
   * @example
   * ```ts
   * const { channels, connections } = await np.broker.info();
   * ```
   */
  async info(options?: CallOptions): Promise<BrokerInfo> {
    const info = await this.context.requester.json<BrokerInfo>("broker.info", {}, options, SAFE);
    return { ...info, epoch: BigInt(info.epoch) };
  }

  /**
   * Has all that is stored checked now. Answers at once, with how the check stands.
   *
   * @example
   * ```ts
   * const { damageFound } = await np.broker.scrub();
   * ```
   */
  scrub(options?: CallOptions): Promise<ScrubStatus> {
    return this.context.requester.json("broker.scrub", {}, options, SAFE);
  }
}
