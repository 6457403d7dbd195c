import type { ChannelNames } from "../channel-names.js";
import type { Requester } from "../connection/requester.js";
import type { OffsetCodec, OffsetType } from "../offset.js";
import type { Publishing } from "../producer/publishing.js";
import type { Tail, TailRequest } from "../reading/tail.js";
import type { CallOptions } from "../options.js";

/** What the namespaces of a client share. */
export interface Context<O extends OffsetType> {
  readonly requester: Requester;
  readonly names: ChannelNames;
  readonly offsets: OffsetCodec<O>;
  readonly publishing: Publishing<O>;
  /** Opens a tail that ends when the client is closed. */
  tail<P>(request: TailRequest, options: CallOptions): Tail<P, O>;
}

/** A request that does the same when it is carried out twice. */
export const SAFE = { idempotent: true } as const;
/** A request that does the same when it is carried out twice on the same data directory. */
export const SAME_DATA = { idempotent: true, sameData: true } as const;
/** A request that must not be carried out twice. */
export const ONCE = { idempotent: false } as const;
