import { ChannelExistsError } from "../errors/index.js";
import type { OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { Page, Paged } from "../paging.js";
import { type ChannelConfig, type ChannelInfo, channelInfo, fullConfig, type WireChannelInfo } from "./channel-types.js";
import { type Context, ONCE, SAFE } from "./context.js";

/**
 * A channel to be made.
 *
 * @example
 * ```ts
 * const request: CreateChannelRequest = { name: "orders", retentionDays: 30, durability: "synced" };
 * ```
 */
export interface CreateChannelRequest extends ChannelConfig {
  /** 1 to 256 bytes of letters, digits, `_`, `-` and single dots between them. */
  readonly name: string;
}

/**
 * Which channels to list.
 *
 * @example
 * ```ts
 * const request: ListChannelsRequest = { prefix: "ml.", limit: 100 };
 * ```
 */
export interface ListChannelsRequest {
  /** Only those whose names begin so. */
  readonly prefix?: string | undefined;
  /** The broker's own `__` topics as well. */
  readonly internal?: boolean | undefined;
  /** Channels of one page, 1 to 1,000. */
  readonly limit?: number | undefined;
}

/**
 * Names one channel.
 *
 * @example
 * ```ts
 * const info = await np.channels.get({ channelId: "orders" });
 * ```
 */
export interface ChannelRequest {
  /** Name or id of the channel. */
  readonly channelId: string;
}

/**
 * Channels: named logs with one total order each.
 *
 * @example
 * ```ts
 * const channel = await np.channels.create({ name: "orders", retentionDays: 30 });
 * console.log(channel.id, channel.logEnd);
 * ```
 */
export class Channels<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Makes a channel. One that exists with the same configuration, as far as it is given, is returned as it is, so that a
   * program may run twice.
   *
   * @throws ChannelExistsError where it exists with another configuration; details `field`, `wanted`, `found`.
   *
   * @example
   * ```ts
   * await np.channels.create({ name: "orders", durability: "synced" });
   * ```
   */
  async create(request: CreateChannelRequest, options?: CallOptions): Promise<ChannelInfo<O>> {
    const { name, ...given } = request;
    const config = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const body = { name, config, ifNotExists: true };
    const answer = await this.context.requester.json<{ created: boolean; channel: WireChannelInfo }>("channel.create", body, options, SAFE);
    if (!answer.created) refuseOther(name, config, answer.channel);
    return this.info(answer.channel);
  }

  /**
   * One channel.
   *
   * @throws ChannelNotFoundError
   *
   * @example
   * ```ts
   * const { highWatermark } = await np.channels.get({ channelId: "orders" });
   * ```
   */
  async get({ channelId }: ChannelRequest, options?: CallOptions): Promise<ChannelInfo<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.info(await this.context.requester.json<WireChannelInfo>("channel.info", { name }, options, SAFE));
  }

  /**
   * The channels that the key may see, in the order of their names: the first page when awaited, all with `for await`.
   *
   * @example
   * ```ts
   * for await (const channel of np.channels.list({ prefix: "ml." })) console.log(channel.name);
   * ```
   */
  list(request: ListChannelsRequest = {}, options?: CallOptions): Paged<ChannelInfo<O>> {
    const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
    return new Paged(async (cursor) => {
      const body = { ...given, ...(cursor === undefined ? {} : { cursor }) };
      type Answer = { channels: WireChannelInfo[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("channel.list", body, options, SAFE);
      return new Page(answer.channels.map((row) => this.info(row)), answer.cursor);
    });
  }

  /**
   * Changes the fields of the configuration that are given; null clears a retention.
   *
   * @example
   * ```ts
   * await np.channels.update({ channelId: "orders", retentionDays: 90 });
   * ```
   */
  async update({ channelId, ...config }: ChannelRequest & ChannelConfig, options?: CallOptions): Promise<ChannelInfo<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.info(await this.context.requester.json<WireChannelInfo>("channel.update", { name, config }, options, SAFE));
  }

  /**
   * Deletes a channel with all its records and consumers. Given by its id, only that life of it.
   *
   * @example
   * ```ts
   * await np.channels.delete({ channelId: "orders" });
   * ```
   */
  async delete({ channelId }: ChannelRequest, options?: CallOptions): Promise<{ readonly name: string; readonly id: string }> {
    const { name, incarnation } = await this.context.names.resolve(channelId, options);
    const body = { name, ...(incarnation === undefined ? {} : { incarnation }) };
    const answer = await this.context.requester.json<{ name: string; incarnation: string }>("channel.delete", body, options, ONCE);
    return { name: answer.name, id: answer.incarnation };
  }

  /**
   * Gives an encrypted channel a new key; what is stored keeps its own.
   *
   * @example
   * ```ts
   * const { encryptionKey } = await np.channels.rotateKey({ channelId: "orders" });
   * ```
   */
  async rotateKey({ channelId }: ChannelRequest, options?: CallOptions): Promise<ChannelInfo<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.info(await this.context.requester.json<WireChannelInfo>("channel.rotateKey", { name }, options, ONCE));
  }

  private info(row: WireChannelInfo): ChannelInfo<O> {
    this.context.names.learn(row);
    return channelInfo(row, this.context.offsets);
  }
}

function refuseOther(name: string, wanted: Record<string, unknown>, channel: WireChannelInfo): void {
  for (const [field, value] of Object.entries(wanted)) {
    const found = (fullConfig(channel) as Record<string, unknown>)[field];
    if (text(value) === text(found)) continue;
    const message = `the channel ${name} exists, with ${field} ${JSON.stringify(found)} instead of ${JSON.stringify(value)}`;
    const details = { field, wanted: value, found };
    throw new ChannelExistsError({ code: ChannelExistsError.code, number: 103, message, retryable: false, details });
  }
}

function text(value: unknown): string {
  return JSON.stringify(Array.isArray(value) ? [...value].sort() : value);
}
