import { ProtocolError } from "../errors/index.js";
import { parseJson } from "../wire/json.js";

/** What the broker says of itself when a connection begins. */
export interface Hello {
  /** Name and version of the software. */
  readonly broker: string;
  readonly version: string;
  /** Request kinds that it knows. */
  readonly kinds: ReadonlyMap<string, number>;
  readonly limits: {
    readonly frameBytes: number;
    readonly controlFrameBytes: number;
    readonly batchBytes: number;
    readonly recordBytes: number;
    readonly inFlightBytes: number;
  };
  /** Identity of the data directory: another one means other data. */
  readonly directoryId: string;
  /** Whom the broker takes the client for. */
  readonly principal: { readonly id: number; readonly org: string; readonly key?: string };
}

export function decodeHello(body: Buffer): Hello {
  const hello = parseJson(body.toString("utf8")) as Omit<Hello, "kinds"> & { kinds?: { kind: number; name: string }[] };
  if (typeof hello.limits?.frameBytes !== "number" || !Array.isArray(hello.kinds)) {
    throw new ProtocolError("the broker's hello has no limits or no kinds");
  }
  return { ...hello, kinds: new Map(hello.kinds.map(({ name, kind }) => [name, kind])) };
}
