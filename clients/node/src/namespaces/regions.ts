import type { OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import type { ChannelRequest } from "./channels.js";
import { type Context, ONCE, SAFE } from "./context.js";
import {
  type ChannelLogs,
  channelLogs,
  type RegionList,
  type RegionMoved,
  regionMoved,
  type RegionStatus,
  regionStatus,
  type RegionVerified,
  regionVerified,
} from "./region-types.js";

/**
 * Where a channel is to live.
 *
 * @example
 * ```ts
 * const request: MoveChannelRequest = { channelId: "orders", to: "eu-west" };
 * ```
 */
export interface MoveChannelRequest extends ChannelRequest {
  /** The region that becomes its home. */
  readonly to: string;
  /** Without the home before, which is gone: the answer says which records may be lost. */
  readonly force?: boolean | undefined;
}

/**
 * This region, its links to others and the copies that it keeps of their channels. A broker without a region's name
 * answers `NotARegionError`.
 *
 * @example
 * ```ts
 * for (const { name, home, lagRecords } of (await np.regions.status()).copies) console.log(name, home, lagRecords);
 * ```
 */
export class Regions<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * This region and the others that it is told of.
   *
   * @example
   * ```ts
   * const { region, peers } = await np.regions.list();
   * ```
   */
  list(options?: CallOptions): Promise<RegionList> {
    return this.context.requester.json("region.list", {}, options, SAFE);
  }

  /**
   * How its links and copies are.
   *
   * @example
   * ```ts
   * const { links } = await np.regions.status();
   * if (links.some(({ state }) => state !== "open")) console.warn(links);
   * ```
   */
  async status(options?: CallOptions): Promise<RegionStatus<O>> {
    return regionStatus(await this.context.requester.json("region.status", {}, options, SAFE), this.context.offsets);
  }

  /**
   * Compares a copy with its home, range by range; asked of the home, all copies that are known there.
   *
   * @throws ChannelNotFoundError, RegionUnreachableError
   *
   * @example
   * ```ts
   * const { equal, differs } = await np.regions.verify({ channelId: "ml.models" });
   * ```
   */
  async verify({ channelId }: ChannelRequest, options?: CallOptions): Promise<RegionVerified<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return regionVerified(await this.context.requester.json("region.verify", { name }, options, SAFE), this.context.offsets);
  }

  /**
   * Removes a copy that no interest wants any more, with all that is in it.
   *
   * @throws PurgeRefusedError where it is no copy, or is still wanted.
   *
   * @example
   * ```ts
   * await np.interest.remove({ pattern: "ml.>" });
   * await np.regions.purge({ channelId: "ml.models" });
   * ```
   */
  async purge({ channelId }: ChannelRequest, options?: CallOptions): Promise<{ readonly name: string; readonly incarnation: string }> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.context.requester.json("region.purge", { name }, options, ONCE);
  }

  /**
   * Makes another region the home of a channel. Writers are told to try again for a moment.
   *
   * @example
   * ```ts
   * await np.regions.move({ channelId: "orders", to: "eu-west" });
   * ```
   */
  async move({ channelId, to, force }: MoveChannelRequest, options?: CallOptions): Promise<RegionMoved<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    const body = { name, to, ...(force === undefined ? {} : { force }) };
    return regionMoved(await this.context.requester.json("region.move", body, options, ONCE), this.context.offsets);
  }

  /**
   * Takes the name of a channel out of the directory of all regions, whose region is gone for good: the name is free then. It
   * is asked of the region that is home of the directory, by who administers the default organisation.
   *
   * @throws NotHomeError where the directory lives elsewhere, NameHeldError where the channel lives in the region that is asked.
   *
   * @example
   * ```ts
   * const { region } = await np.regions.unname({ channelId: "ml.models" }); // where it lived
   * ```
   */
  async unname({ channelId }: ChannelRequest, options?: CallOptions): Promise<{ readonly name: string; readonly incarnation: string; readonly region: string }> {
    const { name } = await this.context.names.resolve(channelId, options);
    type Answer = { readonly channel: string; readonly incarnation: string; readonly region: string };
    const { channel, ...told } = await this.context.requester.json<Answer>("directory.unname", { channel: name }, options, ONCE);
    return { name: channel, ...told };
  }

  /**
   * Which logs a channel has, and where they stand: one, or one for each region (`regions: "each"`).
   *
   * @throws ChannelNotFoundError, RegionUnreachableError
   *
   * @example
   * ```ts
   * const { logs } = await np.regions.logs({ channelId: "ml.feedback" });
   * for (const { name, highWatermark } of logs) console.log(name, highWatermark);
   * ```
   */
  async logs({ channelId }: ChannelRequest, options?: CallOptions): Promise<ChannelLogs<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    const { version: _, ...told } = channelLogs(await this.context.requester.json("region.logs", { channel: name }, options, SAFE), this.context.offsets);
    return told;
  }
}
