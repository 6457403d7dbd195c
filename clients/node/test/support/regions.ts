import { afterAll, beforeAll } from "vitest";
import { NPayload } from "../../src/index.js";
import { startBroker, type TestBroker } from "../../src/testing/index.js";

/** A broker that is a region, and a client of it. */
export interface TestRegion {
  readonly broker: TestBroker;
  readonly np: NPayload;
}

/** Looks again every few milliseconds until there is something. */
export async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Two regions for the tests of a file, linked to each other and of one directory. */
export function withRegions(): { readonly east: TestRegion; readonly west: TestRegion } {
  const started: TestRegion[] = [];
  beforeAll(async () => {
    // The second knows the first when it starts; the first is started again once it can know the second.
    const first = await startBroker({ args: ["--region", "us-east"] });
    const { port, dataDir } = first;
    const west = await startBroker({ args: ["--region", "eu-west", "--peer", `us-east=npayload://127.0.0.1:${port}`] });
    await first.stop({ keepData: true });
    const east = await startBroker({ dataDir, port, args: ["--region", "us-east", "--peer", `eu-west=npayload://127.0.0.1:${west.port}`] });
    for (const broker of [east, west]) started.push({ broker, np: new NPayload({ url: broker.url }) });
    for (const { np } of started) {
      await eventually(async () => {
        const { peers, joined = [] } = await np.regions.list();
        return peers.every(({ state }) => state === "open") && joined.length === 2 ? true : undefined;
      });
    }
  }, 60_000);
  afterAll(async () => {
    for (const { broker, np } of started) {
      await np.close();
      await broker.stop();
    }
  });
  const region = (at: number): TestRegion => ({
    get broker() {
      return (started[at] as TestRegion).broker;
    },
    get np() {
      return (started[at] as TestRegion).np;
    },
  });
  return { east: region(0), west: region(1) };
}
