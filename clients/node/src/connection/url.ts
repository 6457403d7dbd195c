import { InvalidArgumentError } from "../errors/index.js";

/** Port of a broker when the URL names none. */
export const DEFAULT_PORT = 7400;

/** Where a broker is. */
export interface BrokerUrl {
  /** Host name or address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Whether it is spoken to over TLS. */
  readonly tls: boolean;
}

/**
 * Reads `npayload://HOST:PORT` or `npayload+tls://HOST:PORT`.
 *
 * @throws InvalidArgumentError for anything else.
 */
export function parseUrl(text: string): BrokerUrl {
  const invalid = (why: string): InvalidArgumentError =>
    new InvalidArgumentError(`"${text}" is not npayload://HOST:PORT or npayload+tls://HOST:PORT: ${why}`);
  const match = /^(npayload|npayload\+tls):\/\/(?:\[([0-9A-Fa-f:.%]+)\]|([^/@ ?#:[\]]+))(?::(\d{1,5}))?\/?$/.exec(text);
  if (match === null) throw invalid("it is a scheme, a host and perhaps a port");
  const port = match[4] === undefined ? DEFAULT_PORT : Number(match[4]);
  if (port > 65535) throw invalid(`the port is ${port}, where 65535 is the highest`);
  return { host: (match[2] ?? match[3]) as string, port, tls: match[1] === "npayload+tls" };
}

/** Whether what is sent there stays on this machine, as far as the name tells. */
export function isLoopback({ host }: BrokerUrl): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

export function formatUrl({ host, port, tls }: BrokerUrl): string {
  return `${tls ? "npayload+tls" : "npayload"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
