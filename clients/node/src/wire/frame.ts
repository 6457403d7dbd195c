import { ProtocolError } from "../errors/index.js";

/** Bytes of the length field and the header behind it. */
export const HEADER_BYTES = 16;
/** What the length field counts of the header. */
const COUNTED_HEADER_BYTES = 12;
/** Until the hello tells another limit: the largest length field of an answer. */
export const MAX_FRAME_BYTES = 72 << 20;

/** One frame, its body where it lies. */
export interface Frame {
  readonly kind: number;
  readonly version: number;
  /** At most 2^53 - 1: this client counts up from 1. */
  readonly correlation: number;
  readonly body: Buffer;
}

/** Writes the header of a frame whose body has `bodyBytes` bytes into the first 16 bytes of `target`. */
export function writeFrameHeader(target: Buffer, kind: number, version: number, correlation: number, bodyBytes: number): void {
  target.writeUInt32LE(COUNTED_HEADER_BYTES + bodyBytes, 0);
  target.writeUInt16LE(kind, 4);
  target.writeUInt16LE(version, 6);
  target.writeUInt32LE(correlation % 0x1_0000_0000, 8);
  target.writeUInt32LE(Math.floor(correlation / 0x1_0000_0000), 12);
}

/** A whole frame in one buffer. */
export function encodeFrame(kind: number, version: number, correlation: number, body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  writeFrameHeader(frame, kind, version, correlation, body.length);
  frame.set(body, HEADER_BYTES);
  return frame;
}

/**
 * Takes frames out of the chunks of a stream, in one pass. A frame that lies in one chunk stays there; one that comes in
 * pieces is copied once into a buffer of its size.
 */
export class FrameParser {
  /** The frame that is not whole yet, once its length is known. */
  private partial: Buffer | undefined;
  private filled = 0;
  /** Pieces of a length field that was cut. */
  private readonly lengthBytes = Buffer.alloc(4);
  private lengthFilled = 0;

  constructor(
    private readonly onFrame: (frame: Frame) => void,
    public maxFrameBytes = MAX_FRAME_BYTES,
  ) {}

  /** Takes the next bytes of the stream. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.partial !== undefined) {
        const take = Math.min(this.partial.length - this.filled, chunk.length - at);
        chunk.copy(this.partial, this.filled, at, at + take);
        this.filled += take;
        at += take;
        if (this.filled < this.partial.length) return;
        const whole = this.partial;
        this.partial = undefined;
        this.emit(whole, 0, whole.length);
        continue;
      }
      if (this.lengthFilled > 0 || chunk.length - at < 4) {
        const take = Math.min(4 - this.lengthFilled, chunk.length - at);
        chunk.copy(this.lengthBytes, this.lengthFilled, at, at + take);
        this.lengthFilled += take;
        at += take;
        if (this.lengthFilled < 4) return;
        this.lengthFilled = 0;
        this.begin(this.checked(this.lengthBytes.readUInt32LE(0)));
        continue;
      }
      const length = this.checked(chunk.readUInt32LE(at));
      if (chunk.length - at - 4 >= length) {
        this.emit(chunk, at, at + 4 + length);
        at += 4 + length;
      } else {
        at += 4;
        this.begin(length);
      }
    }
  }

  private begin(length: number): void {
    this.partial = Buffer.allocUnsafeSlow(4 + length);
    this.partial.writeUInt32LE(length, 0);
    this.filled = 4;
  }

  private checked(length: number): number {
    if (length < COUNTED_HEADER_BYTES || length > this.maxFrameBytes) {
      const limits = `${COUNTED_HEADER_BYTES} to ${this.maxFrameBytes}`;
      throw new ProtocolError(`a frame of length ${length}, where ${limits} is allowed`, { details: { length } });
    }
    return length;
  }

  private emit(buffer: Buffer, from: number, to: number): void {
    const high = buffer.readUInt32LE(from + 12);
    this.onFrame({
      kind: buffer.readUInt16LE(from + 4),
      version: buffer.readUInt16LE(from + 6),
      correlation: high * 0x1_0000_0000 + buffer.readUInt32LE(from + 8),
      body: buffer.subarray(from + HEADER_BYTES, to),
    });
  }
}
