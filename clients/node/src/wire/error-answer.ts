import { BROKER_ERRORS, type BrokerErrorCode, NPayloadError, ProtocolError } from "../errors/index.js";
import { parseJson } from "./json.js";

interface ErrorBody {
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
  const { name, message, retryable, details, retryAfterMs } = found;
  const known = BROKER_ERRORS[name as BrokerErrorCode];
  const type = known?.type ?? NPayloadError;
  return new type({ code: name, number: found.code, message, retryable, details, retryAfterMs, requestId });
}
