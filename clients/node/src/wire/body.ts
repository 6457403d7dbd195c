import { ProtocolError } from "../errors/index.js";

/** Largest u64: "none" where an offset is optional. */
export const NONE = 0xffff_ffff_ffff_ffffn;

/** Writes the fields of a binary body one after the other. Its room is given, so that it never has to grow. */
export class BodyWriter {
  readonly buffer: Buffer;
  at = 0;

  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  u8(value: number): this {
    this.at = this.buffer.writeUInt8(value, this.at);
    return this;
  }

  u16(value: number): this {
    this.at = this.buffer.writeUInt16LE(value, this.at);
    return this;
  }

  u32(value: number): this {
    this.at = this.buffer.writeUInt32LE(value, this.at);
    return this;
  }

  u64(value: bigint): this {
    this.at = this.buffer.writeBigUInt64LE(value, this.at);
    return this;
  }

  str(text: string): this {
    const bytes = Buffer.byteLength(text);
    this.u16(bytes);
    this.at += this.buffer.write(text, this.at, "utf8");
    return this;
  }

  blob(bytes: Uint8Array): this {
    this.u32(bytes.length);
    return this.bytes(bytes);
  }

  bytes(bytes: Uint8Array): this {
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }

  /** 16 bytes of an incarnation that is written as 32 hexadecimal digits; undefined is "none". */
  incarnation(hex: string | undefined): this {
    if (hex === undefined) this.buffer.fill(0, this.at, this.at + 16);
    else Buffer.from(hex, "hex").reverse().copy(this.buffer, this.at);
    this.at += 16;
    return this;
  }

  finish(): Buffer {
    return this.buffer.subarray(0, this.at);
  }
}

/** Reads the fields of a binary body one after the other. */
export class BodyReader {
  at: number;

  constructor(
    readonly buffer: Buffer,
    at = 0,
  ) {
    this.at = at;
  }

  private take(bytes: number): number {
    const at = this.at;
    if (at + bytes > this.buffer.length) {
      throw new ProtocolError(`the body of an answer ends after ${this.buffer.length} bytes, ${at + bytes} are needed`);
    }
    this.at = at + bytes;
    return at;
  }

  u8(): number {
    return this.buffer.readUInt8(this.take(1));
  }

  u16(): number {
    return this.buffer.readUInt16LE(this.take(2));
  }

  u32(): number {
    return this.buffer.readUInt32LE(this.take(4));
  }

  u64(): bigint {
    return this.buffer.readBigUInt64LE(this.take(8));
  }

  i64(): bigint {
    return this.buffer.readBigInt64LE(this.take(8));
  }

  str(): string {
    const bytes = this.u16();
    const at = this.take(bytes);
    return this.buffer.toString("utf8", at, at + bytes);
  }

  blob(): Buffer {
    const bytes = this.u32();
    const at = this.take(bytes);
    return this.buffer.subarray(at, at + bytes);
  }

  incarnation(): string {
    const at = this.take(16);
    return Buffer.from(this.buffer.subarray(at, at + 16)).reverse().toString("hex");
  }

  rest(): Buffer {
    const at = this.at;
    this.at = this.buffer.length;
    return this.buffer.subarray(at);
  }

  /** Bytes after the last field are an error. */
  end(): void {
    if (this.at !== this.buffer.length) {
      throw new ProtocolError(`${this.buffer.length - this.at} bytes follow the last field of an answer`);
    }
  }
}
