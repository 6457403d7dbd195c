import * as net from "node:net";
import { BROKER_ERRORS, type BrokerErrorCode } from "../../src/index.js";
import { encodeFrame, type Frame, FrameParser } from "../../src/wire/frame.js";
import { ERROR_KIND, PING } from "../../src/wire/kinds.js";
import { repositoryFile } from "./golden.js";

/** One request of a client, and what may be done with it. */
export interface Asked {
  readonly kind: number;
  readonly body: Buffer;
  /** Number of the request on all connections, from 1; hellos and pings are not counted. */
  readonly number: number;
  answer(body: Buffer | object): void;
  refuse(code: BrokerErrorCode, fields?: { details?: object; retryAfterMs?: number }): void;
  /** Ends the connection without an answer. */
  cut(): void;
  /** An error that belongs to no request. */
  announce(code: BrokerErrorCode): void;
}

/** A broker that answers as a test tells it to. */
export async function startFakeBroker(onAsked: (asked: Asked) => void, { pings = true, port: wanted = 0, directoryId = (): string | undefined => undefined } = {}) {
  const told = repositoryFile("tests/golden/frames/hello_response.bin").subarray(16);
  const hello = (): Buffer => {
    const other = directoryId();
    return other === undefined ? told : Buffer.from(JSON.stringify({ ...(JSON.parse(told.toString()) as object), directoryId: other }));
  };
  const sockets = new Set<net.Socket>();
  let number = 0;
  let pinged = 0;
  const error = (code: BrokerErrorCode, fields: object = {}): Buffer => {
    const { number: code_, retryable } = BROKER_ERRORS[code];
    return Buffer.from(JSON.stringify({ code: code_, name: code, message: "as told", retryable, ...fields }));
  };
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    const send = (kind: number, correlation: number, body: Buffer): void => void socket.write(encodeFrame(kind, 1, correlation, body));
    const parser = new FrameParser(({ kind, correlation, body }: Frame) => {
      if (kind === 1) return send(kind | 0x8000, correlation, hello());
      if (kind === PING) {
        pinged += 1;
        if (pings) send(kind | 0x8000, correlation, Buffer.alloc(0));
        return;
      }
      number += 1;
      onAsked({
        kind,
        body,
        number,
        answer: (with_) => send(kind | 0x8000, correlation, Buffer.isBuffer(with_) ? with_ : Buffer.from(JSON.stringify(with_))),
        refuse: (code, fields) => send(ERROR_KIND, correlation, error(code, fields)),
        cut: () => socket.destroy(),
        announce: (code) => send(ERROR_KIND, 0, error(code)),
      });
    });
    socket.on("data", (chunk: Buffer) => parser.push(chunk));
  });
  await new Promise<void>((resolve) => server.listen(wanted, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `npayload://127.0.0.1:${port}`,
    get asked() {
      return number;
    },
    get pinged() {
      return pinged;
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
