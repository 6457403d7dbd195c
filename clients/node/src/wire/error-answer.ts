import { BROKER_ERRORS, type BrokerErrorCode, NPayloadError, ProtocolError } from "../errors/index.js";
import { parseJson } from "./json.js";

/** An error as the broker writes it. */
export interface ErrorBody {
  code: number;
  name: string;
  message: string;
  retryable: boolean;
  details?: Record<string, unknown>;
  retryAfterMs?: number;
}

/** The error that an error answer stands for. A code that is not known is kept as it is. */
export function decodeErrorAnswer(body: Buffer, requestId?: string): NPayloadError {
  let found: ErrorBody;
  try {
    found = parseJson(body.toString("utf8")) as ErrorBody;
    if (typeof found.name !== "string" || typeof found.retryable !== "boolean") throw new TypeError("a field is missing");
  } catch (cause) {
    return new ProtocolError("an error answer is not understood", { cause, requestId });
  }
  return errorOf(found, requestId);
}

/** The error that the broker wrote. */
export function errorOf({ code: number, name: code, message, retryable, details, retryAfterMs }: ErrorBody, requestId?: string): NPayloadError {
  const type = BROKER_ERRORS[code as BrokerErrorCode]?.type ?? NPayloadError;
  return new type({ code, number, message, retryable, details, retryAfterMs, requestId });
}
