import { InvalidArgumentError, SchemaError } from "./errors/index.js";
import type { Message } from "./message.js";
import type { Messages, PublishBatchRequest, PublishRequest } from "./namespaces/messages.js";
import type { Streams } from "./namespaces/streams.js";
import type { OffsetType } from "./offset.js";
import type { CallOptions } from "./options.js";
import type { BatchAck, PublishAck } from "./producer/ack.js";
import type { NewMessage } from "./producer/record.js";
import type { ConsumeRequest } from "./reading/consume.js";
import type { TailRequest } from "./reading/tail.js";
import type { InputOf, OutputOf, StandardSchemaV1 } from "./standard-schema.js";

/**
 * Schemas of payloads by the types of their events.
 *
 * @example
 * ```ts
 * const schemas = { "order.placed": z.object({ id: z.number() }) } satisfies EventSchemas;
 * ```
 */
export type EventSchemas = Readonly<Record<string, StandardSchemaV1>>;

/**
 * A message whose payload was checked; `type` tells which it is.
 *
 * @example
 * ```ts
 * const handle = (event: TypedEvent<typeof schemas>) => console.log(event.type, event.payload.id);
 * ```
 */
export type TypedEvent<S extends EventSchemas, O extends OffsetType = number> = {
  [T in keyof S & string]: {
    readonly type: T;
    readonly payload: OutputOf<S[T]>;
    readonly offset: O;
    /** The message as it was read. */
    readonly message: Message<unknown, O>;
  };
}[keyof S & string];

/**
 * A message to be published, its payload as the schema of its type takes it.
 *
 * @example
 * ```ts
 * const event: NewEvent<typeof schemas> = { type: "order.placed", payload: { id: 17 } };
 * ```
 */
export type NewEvent<S extends EventSchemas> = {
  [T in keyof S & string]: Omit<NewMessage, "type" | "payload"> & { readonly type: T; readonly payload: InputOf<S[T]> };
}[keyof S & string];

/**
 * Events with schemas. What is published is stored as the schemas make it; what is read and does not match is a
 * `SchemaError`. Events of other types are passed over when reading.
 *
 * @example
 * ```ts
 * const events = np.events({ "inference.feedback": z.object({ prediction: z.number(), actual: z.number() }) });
 * for await (const event of events.tail({ streamId: "ml.feedback" })) {
 *   console.log(event.payload.prediction - event.payload.actual);
 * }
 * ```
 */
export class TypedEvents<S extends EventSchemas, O extends OffsetType = number> {
  /** @internal */
  constructor(
    private readonly schemas: S,
    private readonly messages: Messages<O>,
    private readonly streams: Streams<O>,
  ) {}

  /**
   * Checks a payload and publishes it.
   *
   * @throws SchemaError where the payload does not match; nothing is sent then.
   *
   * @example
   * ```ts
   * await events.publish({ channelId: "ml.feedback", type: "inference.feedback", payload: { prediction: 0.87, actual: 0.91 } });
   * ```
   */
  async publish(request: NewEvent<S> & Omit<PublishRequest, "type" | "payload">, options?: CallOptions): Promise<PublishAck<O>> {
    return this.messages.publish({ ...request, payload: await this.check(request.type, request.payload) }, options);
  }

  /**
   * Checks payloads and publishes them as one batch.
   *
   * @throws SchemaError where one does not match; nothing is sent then.
   *
   * @example
   * ```ts
   * await events.publishBatch({ channelId: "ml.feedback", messages: feedback.map((payload) => ({ type: "inference.feedback", payload })) });
   * ```
   */
  async publishBatch(
    request: Omit<PublishBatchRequest, "messages"> & { readonly messages: readonly NewEvent<S>[] },
    options?: CallOptions,
  ): Promise<BatchAck<O>> {
    const messages: NewMessage[] = [];
    for (const message of request.messages) messages.push({ ...message, payload: await this.check(message.type, message.payload) });
    return this.messages.publishBatch({ ...request, messages }, options);
  }

  /**
   * Reads what is there, as `np.streams.consume` does, and checks it.
   *
   * @example
   * ```ts
   * const { events: feedback, nextOffset } = await events.consume({ streamId: "ml.feedback", fromOffset: 0 });
   * ```
   */
  async consume(
    request: ConsumeRequest,
    options?: CallOptions,
  ): Promise<{ readonly events: readonly TypedEvent<S, O>[]; readonly nextOffset: O; readonly endOffset: O }> {
    const { messages, nextOffset, endOffset } = await this.streams.consume(request, options);
    const events: TypedEvent<S, O>[] = [];
    for (const message of messages) {
      const event = await this.parse(message);
      if (event !== undefined) events.push(event);
    }
    return { events, nextOffset, endOffset };
  }

  /**
   * The events of a stream as they come, as `np.streams.tail` has them, checked.
   *
   * @example
   * ```ts
   * for await (const { type, payload } of events.tail({ streamId: "ml.feedback", from: "end" })) console.log(type, payload);
   * ```
   */
  async *tail(request: TailRequest, options?: CallOptions): AsyncGenerator<TypedEvent<S, O>, void, undefined> {
    for await (const message of this.streams.tail(request, options)) {
      const event = await this.parse(message);
      if (event !== undefined) yield event;
    }
  }

  /**
   * A message as an event; undefined where its type has no schema here.
   *
   * @throws SchemaError where its payload does not match.
   *
   * @example
   * ```ts
   * const event = await events.parse(message);
   * if (event?.type === "inference.feedback") console.log(event.payload.prediction);
   * ```
   */
  async parse(message: Message<unknown, O>): Promise<TypedEvent<S, O> | undefined> {
    const { type, offset } = message;
    if (!Object.hasOwn(this.schemas, type)) return undefined;
    const payload = await this.check(type, message.payload);
    return { type, payload, offset, message } as unknown as TypedEvent<S, O>;
  }

  private async check(type: string, payload: unknown): Promise<unknown> {
    const schema = Object.hasOwn(this.schemas, type) ? this.schemas[type] : undefined;
    if (schema === undefined) throw new InvalidArgumentError(`there is no schema for events of type "${type}"`);
    const result = await schema["~standard"].validate(payload);
    if (result.issues === undefined) return result.value;
    const issues = result.issues.map(({ message, path = [] }) => ({
      message,
      // Some libraries have arrays of their own kind.
      path: Array.from(path, (part) => (typeof part === "object" ? part.key : part)),
    }));
    throw new SchemaError(type, issues);
  }
}
