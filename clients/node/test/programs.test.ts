import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until, withBroker } from "./support/client.js";
import { RUNTIME } from "./support/programs.js";

const live = withBroker();
const run = promisify(execFile);
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));

describe("programs of their own", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-program-"));
    await mkdir(join(folder, "node_modules", "@npayload"), { recursive: true });
    await symlink(PACKAGE, join(folder, "node_modules", "@npayload", "node"), "dir");
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** Runs a program to its end; one that does not end is killed, which fails the test. */
  async function program(name: string, code: string): Promise<string> {
    const file = join(folder, name);
    await writeFile(file, code);
    const [binary, ...flags] = RUNTIME;
    const { stdout } = await run(binary, [...flags, file], { timeout: 20_000, env: { ...process.env, NPAYLOAD_URL: live.url } });
    return stdout.trim();
  }

  test("end by themselves once nothing is under way, without close()", async () => {
    const code = `
      import { NPayload } from "@npayload/node";
      const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });
      const { offset } = await np.messages.publish({ channelId: "programs", payload: { from: "esm" } });
      console.log(offset);`;
    expect(await program("open.mjs", code)).toBe("0");
  });

  test("end after what they did not await was published", async () => {
    const code = `
      const { NPayload } = require("@npayload/node");
      const np = new NPayload();
      for (let n = 0; n < 3000; n += 1) np.messages.publish({ channelId: "programs.many", payload: n });`;
    expect(await program("many.cjs", code)).toBe("");
    expect((await live.np.channels.get({ channelId: "programs.many" })).logEnd).toBe(3000);
  });

  test("end with an open tail once the client is closed", async () => {
    const code = `
      import { NPayload } from "@npayload/node";
      import { NPayload as Same } from "@npayload/node";
      const np = new NPayload();
      await np.messages.publish({ channelId: "programs.tail", payload: 1 });
      const tail = np.streams.tail({ streamId: "programs.tail" });
      await tail.next();
      const waiting = tail.next();
      await np[Symbol.asyncDispose]();
      const closed = process.hrtime.bigint();
      console.log((await waiting).done, NPayload === Same);
      process.on("exit", () => console.log(Number(process.hrtime.bigint() - closed) < 5e9));`;
    expect(await program("tail.mjs", code)).toBe("true true\ntrue");
  });

  test("end when they leave the loop over a tail", async () => {
    const code = `
      import { NPayload } from "@npayload/node";
      const np = new NPayload();
      for await (const message of np.streams.tail({ streamId: "programs.tail" })) { console.log(message.payload); break; }`;
    await live.np.messages.publish({ channelId: "programs.tail", payload: 1 });
    expect(await program("loop.mjs", code)).toBe("1");
  });

  test("take a test broker that they forgot with them", async () => {
    const code = `
      import { startBroker } from "@npayload/node/testing";
      const { pid } = await startBroker({ dataDir: ${JSON.stringify(join(folder, "forgotten"))} });
      console.log(pid);`;
    const pid = Number(await program("forgotten.mjs", code));
    const isAlive = (): boolean => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    await until(() => !isAlive());
  });

  test("get the test broker from its own entry", async () => {
    const code = `
      const { startBroker } = require("@npayload/node/testing");
      const { NPayload } = require("@npayload/node");
      (async () => {
        const broker = await startBroker();
        const np = new NPayload({ url: broker.url });
        console.log((await np.messages.publish({ channelId: "a", payload: 1 })).level);
        await np.close();
        await broker.stop();
      })();`;
    expect(await program("testing.cjs", code)).toBe("synced");
  });
});
