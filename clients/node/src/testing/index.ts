/**
 * A broker of its own for a test: a fresh data directory, a free port.
 *
 * @packageDocumentation
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { NPayloadError } from "../errors/index.js";

/**
 * How to start a broker.
 *
 * @example
 * ```ts
 * const broker = await startBroker({ binary: "target/debug/npayload", args: ["--require-keys"] });
 * ```
 */
export interface StartBrokerOptions {
  /** The `npayload` program; else `NPAYLOAD_BIN`; else `npayload` on the path. */
  readonly binary?: string | undefined;
  /** Where its data is; else a temporary directory, which is removed when it is stopped. */
  readonly dataDir?: string | undefined;
  /** Its port on the loopback address; a free one unless given. */
  readonly port?: number | undefined;
  /** More arguments of `npayload serve`. */
  readonly args?: readonly string[] | undefined;
  /** More variables of its environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** How long it may take to be ready, in milliseconds; 30,000 unless given. */
  readonly timeoutMs?: number | undefined;
}

/**
 * A broker that a test has started.
 *
 * @example
 * ```ts
 * await using broker = await startBroker();
 * const np = new NPayload({ url: broker.url });
 * ```
 */
export class TestBroker implements AsyncDisposable {
  private process: ChildProcess | undefined;
  /** What it has logged. */
  log = "";

  /** @internal */
  constructor(
    private readonly binary: string,
    private readonly options: StartBrokerOptions,
    /** Where its data is. */
    readonly dataDir: string,
    /** Its port; the same after a restart. */
    public port: number,
  ) {}

  /** What a client gives as `url`. */
  get url(): string {
    const isTls = this.options.args?.includes("--tls-cert") ?? false;
    return `${isTls ? "npayload+tls" : "npayload"}://127.0.0.1:${this.port}`;
  }

  /** Its process id; undefined while it does not run. */
  get pid(): number | undefined {
    return this.process?.pid;
  }

  /**
   * Starts it again on the same data and port, after `kill()` or `stop({ keepData: true })`.
   *
   * @example
   * ```ts
   * await broker.kill();
   * await broker.start();
   * ```
   */
  async start(): Promise<void> {
    const { args = [], env = {}, timeoutMs = 30_000 } = this.options;
    const child = spawn(this.binary, ["serve", "--json", "--data-dir", this.dataDir, "--listen", `127.0.0.1:${this.port}`, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.process = child;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.log = (this.log + text).slice(-64 << 10);
    });
    const failed = (why: string, cause?: unknown): NPayloadError =>
      new NPayloadError({ code: "BROKER_NOT_STARTED", message: `${this.binary}: ${why}\n${this.log}`, retryable: false, cause });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        reject(failed(`not ready within ${timeoutMs} ms`));
      }, timeoutMs);
      child.once("error", (error) => {
        clearTimeout(timer);
        reject(failed(error.message, error));
      });
      child.once("exit", (code, signal) => {
        clearTimeout(timer);
        if (this.process === child) this.process = undefined;
        reject(failed(`it ended with ${signal ?? code}`));
      });
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
        const match = /"event":"ready","listen":"[^"]*:(\d+)"/.exec(line);
        if (match === null) return;
        clearTimeout(timer);
        this.port = Number(match[1]);
        resolve();
      });
    });
    // A broker that is still there keeps no program alive, and does not outlive it.
    const onExit = (): void => void child.kill("SIGKILL");
    process.once("exit", onExit);
    child.once("exit", () => process.off("exit", onExit));
    child.unref();
    (child.stdout as unknown as { unref(): void }).unref();
    (child.stderr as unknown as { unref(): void }).unref();
  }

  /**
   * Kills it as `kill -9` does, and waits for its end. The data stays.
   *
   * @example
   * ```ts
   * await broker.kill();
   * ```
   */
  kill(): Promise<void> {
    return this.end("SIGKILL");
  }

  /**
   * Stops it, and removes a temporary data directory unless `keepData` is set.
   *
   * @example
   * ```ts
   * await broker.stop();
   * ```
   */
  async stop({ keepData = false } = {}): Promise<void> {
    await this.end("SIGTERM");
    if (!keepData && this.options.dataDir === undefined) await rm(this.dataDir, { recursive: true, force: true });
  }

  /** Stops it at the end of its scope. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.process;
    if (child === undefined) return;
    child.ref();
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    await ended;
    if (this.process === child) this.process = undefined;
  }
}

/**
 * Starts a broker with a data directory of its own on a free port of the loopback address.
 *
 * @throws NPayloadError with code `BROKER_NOT_STARTED`, and what the broker has logged.
 *
 * @example
 * ```ts
 * import { startBroker } from "@npayload/node/testing";
 *
 * const broker = await startBroker();
 * const np = new NPayload({ url: broker.url });
 * // …
 * await np.close();
 * await broker.stop();
 * ```
 */
export async function startBroker(options: StartBrokerOptions = {}): Promise<TestBroker> {
  const binary = options.binary ?? (process.env.NPAYLOAD_BIN || "npayload");
  if (binary.includes("/") && !existsSync(binary)) {
    const message = `there is no program ${binary}: build the broker (cargo build), or name it with NPAYLOAD_BIN`;
    throw new NPayloadError({ code: "BROKER_NOT_STARTED", message, retryable: false });
  }
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "npayload-test-")));
  const broker = new TestBroker(binary, options, dataDir, options.port ?? 0);
  try {
    await broker.start();
  } catch (error) {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
  return broker;
}
