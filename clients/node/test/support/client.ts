import { afterAll, beforeAll } from "vitest";
import { NPayload } from "../../src/index.js";
import { startBroker, type StartBrokerOptions, type TestBroker } from "../../src/testing/index.js";

/** A broker for the tests of a file, and a client of it. */
export function withBroker(options: StartBrokerOptions = {}): { readonly broker: TestBroker; readonly np: NPayload; readonly url: string } {
  let broker: TestBroker;
  let np: NPayload;
  beforeAll(async () => {
    broker = await startBroker(options);
    np = new NPayload({ url: broker.url });
  });
  afterAll(async () => {
    await np?.close();
    await broker?.stop();
  });
  return {
    get broker() {
      return broker;
    },
    get np() {
      return np;
    },
    get url() {
      return broker.url;
    },
  };
}

let names = 0;

/** A name that no other test of the file uses. */
export function freshName(what = "test"): string {
  names += 1;
  return `${what}.${names}`;
}

/** Waits until something holds, looking again every few milliseconds. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
