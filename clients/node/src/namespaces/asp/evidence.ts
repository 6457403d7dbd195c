import { type OffsetCodec, offsetInput, type OffsetInput, type OffsetType } from "../../offset.js";

/**
 * Somebody who has a part in a promise, a dispute or a rating.
 *
 * @example
 * ```ts
 * const show = ({ name, org }: Party): string => `agent://${org}/${name}`;
 * ```
 */
export interface Party {
  /** `agt_` and a UUID. */
  readonly agentId: string;
  readonly name: string;
  readonly org: string;
}

/**
 * A record of a session, which stands for all before it.
 *
 * @example
 * ```ts
 * const place: SessionPlace = { sessionId: session.id, sequence: 7 };
 * ```
 */
export interface SessionPlace {
  readonly sessionId: string;
  /** Number of the record in the session. */
  readonly sequence: number;
  /** Its hash, `sha256:` and 64 hexadecimal digits. The broker adds it; one that is given has to be right. */
  readonly digest?: string | undefined;
}

/**
 * Records of a channel.
 *
 * @example
 * ```ts
 * const place: ChannelPlace = { channel: "surveys.drafts", start: 40, end: 42 };
 * ```
 */
export interface ChannelPlace<O extends OffsetType = number> {
  readonly channel: string;
  /** Offset of the first of them. */
  readonly start: O;
  /** Offset behind the last of them. */
  readonly end: O;
  /** SHA-256 of them, `sha256:` and 64 hexadecimal digits. */
  readonly digest?: string | undefined;
}

/**
 * A place in the broker's own record that somebody points to, and can read.
 *
 * @example
 * ```ts
 * const references: EvidencePlace[] = [{ sessionId: session.id, sequence: 7 }, { channel: "surveys.drafts", start: 40, end: 42 }];
 * ```
 */
export type EvidencePlace<O extends OffsetType = number> = SessionPlace | ChannelPlace<O>;

/**
 * What shows that something is so, as it may be given.
 *
 * @example
 * ```ts
 * const evidence: Evidence = { evidence: { pages: 12 }, references: [{ sessionId: session.id, sequence: 7 }] };
 * ```
 */
export interface Evidence {
  /** Any JSON value, at most 65,536 bytes in canonical form. */
  readonly evidence?: unknown;
  /** At most 32 places in the broker's record. */
  readonly references?: readonly EvidencePlace<OffsetInput>[] | undefined;
}

/** Places for the wire: with offsets that are checked. */
export function wirePlaces(places: Evidence["references"]): readonly object[] | undefined {
  return places?.map((place) => {
    if (!("channel" in place)) return place;
    return { ...place, start: offsetInput(place.start, "references.start"), end: offsetInput(place.end, "references.end") };
  });
}

/** Places out of an answer. */
export function placesOf<O extends OffsetType>(places: readonly EvidencePlace<OffsetType>[] | undefined, offsets: OffsetCodec<O>): { references?: EvidencePlace<O>[] } {
  if (places === undefined) return {};
  const references = places.map((place): EvidencePlace<O> => {
    if (!("channel" in place)) return place;
    return { ...place, start: offsets.ofJson(place.start, "references.start"), end: offsets.ofJson(place.end, "references.end") };
  });
  return { references };
}
