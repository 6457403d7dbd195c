/** Most buffers that wait to be filled again, and most bytes of them: what a client holds while nothing is under way. */
const MAX_SPARE = 8;
const MAX_SPARE_BYTES = 4 << 20;

/**
 * Buffers of batches, which are filled again once their batch is acknowledged: each new one would come in pages that the
 * system has yet to clear, and would stay until garbage is collected.
 */
export class BatchBuffers {
  private readonly spare: Buffer[] = [];
  private readonly maxSpare: number;

  constructor(private readonly bytes: number) {
    this.maxSpare = Math.min(MAX_SPARE, Math.floor(MAX_SPARE_BYTES / bytes));
  }

  take(): Buffer {
    return this.spare.pop() ?? Buffer.allocUnsafeSlow(this.bytes);
  }

  /** Takes back a buffer that nobody reads any more; one of another size is left to the garbage collector. */
  give(buffer: Buffer): void {
    if (buffer.length === this.bytes && this.spare.length < this.maxSpare) this.spare.push(buffer);
  }
}
