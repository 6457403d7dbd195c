import type * as net from "node:net";
import { ClosedError, ConnectionLostError, NPayloadError, ProtocolError } from "../errors/index.js";
import { decodeErrorAnswer } from "../wire/error-answer.js";
import { type Frame, FrameParser, HEADER_BYTES, writeFrameHeader } from "../wire/frame.js";
import { ANSWER_BIT, ERROR_KIND, KIND_VERSION, PING } from "../wire/kinds.js";

/** A request that was sent: what becomes of its answer. */
interface Waiting {
  readonly kind: number;
  readonly resolve: (body: Buffer) => void;
  readonly reject: (error: Error) => void;
  /** Whether the process stays alive for it. */
  holds: boolean;
}

/** A request under way on one connection. */
export interface Call {
  /** Body of the answer; an error answer rejects as the error that it stands for. */
  readonly answer: Promise<Buffer>;
  /** Forgets the answer: the process need not stay alive for it. */
  abandon(): void;
}

const EMPTY = Buffer.alloc(0);

let connections = 0;

/**
 * One connection: any number of requests in flight, matched to their answers by correlation id. All that is sent within
 * one turn of the event loop leaves with one write.
 */
export class Connection {
  /** Number of the connection within this process. */
  readonly number: number;
  /** Why it ended; undefined while it is open. */
  lost: Error | undefined;
  private readonly waiting = new Map<number, Waiting>();
  private correlation = 0;
  private holding = 0;
  private isCorked = false;
  private reads = 0;
  private readonly keepAlive: NodeJS.Timeout;
  private readonly parser: FrameParser;

  constructor(
    private readonly socket: net.Socket,
    keepAliveMs: number,
    private readonly onLost: (connection: Connection, why: Error) => void,
  ) {
    this.number = ++connections;
    this.parser = new FrameParser((frame) => this.deliver(frame));
    socket.on("data", (chunk: Buffer) => {
      this.reads += 1;
      try {
        this.parser.push(chunk);
      } catch (error) {
        this.lose(error as Error);
      }
    });
    socket.on("error", (cause) => this.lose(new ConnectionLostError(`the connection was lost: ${cause.message}`, { cause })));
    socket.on("close", () => this.lose(new ConnectionLostError("the broker closed the connection")));
    socket.unref();
    let seen = 0;
    let silent = 0;
    this.keepAlive = setInterval(() => {
      silent = this.reads === seen ? silent + 1 : 0;
      seen = this.reads;
      if (silent > 2) this.lose(new ConnectionLostError(`the broker said nothing for ${3 * keepAliveMs} ms`));
      else if (silent > 0) this.send(PING, [EMPTY], { holds: false }).answer.catch(() => {});
    }, keepAliveMs);
    this.keepAlive.unref();
  }

  /** Sends a request; the order of the calls is the order on the wire. The parts are one body and are not copied. */
  send(kind: number, parts: readonly Uint8Array[], { holds = true } = {}): Call {
    const correlation = ++this.correlation;
    let waiting: Waiting;
    const answer = new Promise<Buffer>((resolve, reject) => {
      waiting = { kind, resolve, reject, holds };
    });
    if (this.lost !== undefined) {
      waiting!.reject(this.lost);
      return { answer, abandon: () => {} };
    }
    this.waiting.set(correlation, waiting!);
    if (holds) this.hold(1);
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    if (!this.isCorked) {
      this.isCorked = true;
      this.socket.cork();
      process.nextTick(() => {
        this.isCorked = false;
        this.socket.uncork();
      });
    }
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    writeFrameHeader(header, kind, KIND_VERSION, correlation, bytes);
    this.socket.write(header);
    for (const part of parts) if (part.length > 0) this.socket.write(part);
    return {
      answer,
      abandon: () => {
        if (waiting.holds && this.waiting.has(correlation)) this.hold(-1);
        waiting.holds = false;
      },
    };
  }

  /** Takes the limit that the hello told. */
  set maxFrameBytes(bytes: number) {
    this.parser.maxFrameBytes = bytes;
  }

  /** Ends the connection; what waits rejects with `ClosedError`. */
  close(): void {
    if (this.lost === undefined) this.lose(new ClosedError(), true);
  }

  private deliver({ kind, correlation, body }: Frame): void {
    const waiting = this.waiting.get(correlation);
    if (waiting === undefined) {
      // An error that belongs to no request tells why the broker is about to close.
      if (kind === ERROR_KIND && correlation === 0) this.lose(decodeErrorAnswer(body, `${this.number}.0`));
      return;
    }
    this.waiting.delete(correlation);
    if (waiting.holds) this.hold(-1);
    if (kind === ERROR_KIND) waiting.reject(decodeErrorAnswer(body, `${this.number}.${correlation}`));
    else if (kind === (waiting.kind | ANSWER_BIT)) waiting.resolve(body);
    else waiting.reject(new ProtocolError(`an answer of kind ${kind} to a request of kind ${waiting.kind}`));
  }

  private hold(change: number): void {
    const before = this.holding;
    this.holding += change;
    if (before === 0) this.socket.ref();
    else if (this.holding === 0) this.socket.unref();
  }

  private lose(why: Error, isClosedHere = false): void {
    if (this.lost !== undefined) return;
    this.lost = why;
    clearInterval(this.keepAlive);
    const waiting = [...this.waiting];
    this.waiting.clear();
    this.holding = 0;
    if (isClosedHere) {
      // Over TLS the broker is told that nothing was cut off; the process does not wait for its answer.
      this.socket.end(() => this.socket.destroy());
      this.socket.unref();
    } else {
      this.socket.destroy();
    }
    for (const [correlation, { reject }] of waiting) reject(named(why, `${this.number}.${correlation}`));
    this.onLost(this, why);
  }
}

/** The same loss, as the error of one request. */
function named(why: Error, requestId: string): Error {
  if (why instanceof ConnectionLostError) return new ConnectionLostError(why.message, { cause: why.cause ?? why, requestId });
  if (why instanceof NPayloadError) return why;
  return new ConnectionLostError(why.message, { cause: why, requestId });
}
