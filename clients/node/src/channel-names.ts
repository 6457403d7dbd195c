import type { Requester } from "./connection/requester.js";
import { ChannelNotFoundError, InvalidArgumentError } from "./errors/index.js";
import type { CallOptions } from "./options.js";

/** A channel as requests name it; with an incarnation where it was given by its id. */
export interface ChannelRef {
  readonly name: string;
  readonly incarnation: string | undefined;
}

interface Row {
  readonly name: string;
  readonly id: string;
}

const ID = /^[0-9a-f]{32}$/;
/** Before a name may stand an organisation, behind it the region whose log is meant. */
const NAME = /^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)?[\w-]+(?:\.[\w-]+)*(?:@[a-z0-9]+(?:-[a-z0-9]+)*)?$/;

/**
 * Finds channels by name or by id. A name is used as it is. An id (32 hexadecimal digits) is looked up once; what is sent
 * to it then names the incarnation too, so that a channel which was deleted and created again is noticed.
 */
export class ChannelNames {
  private readonly names = new Map<string, ChannelRef>();

  constructor(private readonly requester: Requester) {}

  /** Keeps in mind what an answer said. */
  learn({ name, id }: Row): void {
    if (this.names.size >= 10_000) this.names.clear();
    this.names.set(id, { name, incarnation: id });
  }

  /** The channel, where no request is needed for it. */
  known(nameOrId: string): ChannelRef | undefined {
    if (typeof nameOrId !== "string" || nameOrId.length > 354 || !NAME.test(nameOrId)) {
      throw new InvalidArgumentError(
        `"${String(nameOrId).slice(0, 80)}" is no name of a channel: letters, digits, "_", "-" and single dots, up to 256 bytes`,
      );
    }
    return ID.test(nameOrId) ? this.names.get(nameOrId) : { name: nameOrId, incarnation: undefined };
  }

  /** The channel. Of two readings of 32 hexadecimal digits, an id and a name, the id is tried first. */
  async resolve(nameOrId: string, options?: CallOptions): Promise<ChannelRef> {
    const known = this.known(nameOrId);
    if (known !== undefined) return known;
    const isNamed = async (): Promise<boolean> => {
      try {
        await this.requester.json("channel.info", { name: nameOrId }, options, { idempotent: true });
        return true;
      } catch (error) {
        if (error instanceof ChannelNotFoundError) return false;
        throw error;
      }
    };
    let cursor: string | undefined;
    do {
      const body = { limit: 1000, ...(cursor === undefined ? {} : { cursor }) };
      const page = await this.requester.json<{ channels: Row[]; cursor?: string }>("channel.list", body, options, { idempotent: true });
      for (const row of page.channels) {
        if (row.id !== nameOrId) continue;
        this.learn(row);
        return { name: row.name, incarnation: row.id };
      }
      cursor = page.cursor;
    } while (cursor !== undefined);
    if (await isNamed()) {
      const ref = { name: nameOrId, incarnation: undefined };
      this.names.set(nameOrId, ref);
      return ref;
    }
    const message = `there is no channel with the id ${nameOrId}`;
    throw new ChannelNotFoundError({ code: ChannelNotFoundError.code, number: 102, message, retryable: false });
  }
}
