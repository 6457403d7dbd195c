import { readFileSync } from "node:fs";
import * as net from "node:net";
import * as tls from "node:tls";
import { ConnectError, TlsUnavailableError } from "../errors/index.js";
import { type BrokerUrl, formatUrl } from "./url.js";

/**
 * Certificates for `npayload+tls://`. PEM texts; their files are named by the environment variables.
 *
 * @example
 * ```ts
 * const tls: TlsOptions = { ca: await readFile("ca.pem") };
 * const np = new NPayload({ url: "npayload+tls://broker.example", tls });
 * ```
 */
export interface TlsOptions {
  /** CAs to trust instead of the system's; else the file that `NPAYLOAD_CA` names. */
  readonly ca?: string | Uint8Array | undefined;
  /** This client's certificate; else the file that `NPAYLOAD_CERT` names. */
  readonly cert?: string | Uint8Array | undefined;
  /** The key to it; else the file that `NPAYLOAD_CERT_KEY` names. */
  readonly key?: string | Uint8Array | undefined;
  /** Name that the broker's certificate must have, instead of the URL's host. */
  readonly serverName?: string | undefined;
}

/** Opens a stream to the broker; it is ready when the promise resolves. Aborting destroys it. */
export function openStream(url: BrokerUrl, options: TlsOptions, timeoutMs: number): { socket: net.Socket; ready: Promise<void> } {
  const socket = url.tls ? openTls(url, options) : net.connect({ host: url.host, port: url.port });
  socket.setNoDelay(true);
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail(new ConnectError(`${formatUrl(url)} did not answer within ${timeoutMs} ms`)), timeoutMs);
    const done = (): void => {
      clearTimeout(timer);
      socket.off("error", onError).off("close", onClose);
    };
    const fail = (error: Error): void => {
      done();
      // A socket that fails once more later must not throw.
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const onError = (cause: Error): void => fail(explain(url, cause));
    const onClose = (): void => fail(new ConnectError(`the connection to ${formatUrl(url)} ended while it was being made`));
    socket.once("error", onError).once("close", onClose);
    socket.once(url.tls ? "secureConnect" : "connect", () => {
      done();
      resolve();
    });
  });
  return { socket, ready };
}

function openTls(url: BrokerUrl, options: TlsOptions): tls.TLSSocket {
  const name = options.serverName ?? url.host;
  const file = (variable: string): Buffer | undefined => {
    const path = process.env[variable];
    if (path === undefined || path === "") return undefined;
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new ConnectError(`${variable} names ${path}, which cannot be read`, { cause, retryable: false });
    }
  };
  const pem = (given: string | Uint8Array | undefined, variable: string): string | Buffer | undefined =>
    given === undefined ? file(variable) : typeof given === "string" ? given : Buffer.from(given);
  const ca = pem(options.ca, "NPAYLOAD_CA");
  const cert = pem(options.cert, "NPAYLOAD_CERT");
  const key = pem(options.key, "NPAYLOAD_CERT_KEY");
  return tls.connect({
    host: url.host,
    port: url.port,
    ALPNProtocols: ["npayload"],
    minVersion: "TLSv1.2",
    // An address is no server name; the certificate is checked against it all the same.
    ...(net.isIP(name) === 0 ? { servername: name } : { servername: "" }),
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}

/** Codes of refusals that no second try changes. */
const FINAL = /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|ERR_SSL_|ERR_OSSL|HOSTNAME_)/;

function explain(url: BrokerUrl, cause: Error): Error {
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    const message = `${formatUrl(url)} does not speak TLS: the URL of a port without TLS begins with npayload://`;
    return new TlsUnavailableError({ code: TlsUnavailableError.code, number: 8, message, retryable: false, cause });
  }
  const hint = code === "ECONNREFUSED" ? ": nobody listens there (is the broker running? `npayload serve` starts one)" : `: ${cause.message}`;
  return new ConnectError(`cannot connect to ${formatUrl(url)}${hint}`, { cause, retryable: !FINAL.test(code) });
}
