import { execFileSync } from "node:child_process";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBroker } from "../src/testing/index.js";
import { withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";
import { PACKAGE, ProgramFolder, typeErrors } from "./support/programs.js";
import { eventually, withRegions } from "./support/regions.js";

/** A block of code of the README, with what it leaves to its reader around it. */
interface Snippet {
  readonly of: string;
  /** What stands before it: names that the README does not declare. */
  readonly before?: string;
  /** What it prints, line by line; where its last line waits for more, it has to print all of these. */
  readonly prints: readonly (string | RegExp)[];
  readonly isEndless?: boolean;
  /** Done before it runs. */
  readonly given?: () => Promise<unknown>;
  /** What it has done. */
  readonly done?: () => Promise<boolean>;
}

const CLIENT = 'import { NPayload } from "@npayload/node";\nconst np = new NPayload();';
const BLOCKS = [...repositoryFile("clients/node/README.md").toString().matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code ?? "");

describe("the README's code", () => {
  const live = withBroker();
  const { east, west } = withRegions();
  let folder: ProgramFolder;
  let sessionId = "";
  beforeAll(async () => {
    folder = await ProgramFolder.make();
    await symlink(join(PACKAGE, "node_modules", "zod"), join(folder.path, "node_modules", "zod"), "dir");
    execFileSync(process.env.NPAYLOAD_BIN as string, ["cert", "dev", folder.path]);
  });
  afterAll(() => folder.remove());

  const positions = async (consumer: string): Promise<number> => {
    const found = (await live.np.consumers.list({ channelId: "orders" })).find((row) => row.consumer === consumer);
    return found?.offset ?? 0;
  };

  const SNIPPETS: readonly Snippet[] = [
    { of: "first program", prints: ["0 synced", /^0 \{ modelId: 'pricing-model-v3'/, "1", "{ late: true }"], isEndless: true },
    {
      of: "typed events",
      before: `${CLIENT}\nimport { z } from "zod";`,
      prints: [/^-0\.04/],
      isEndless: true,
    },
    {
      of: "named consumers",
      before: `${CLIENT}\nconst bill = async (payload: unknown): Promise<void> => console.log(payload);`,
      prints: ["1", "2"],
      isEndless: true,
      given: () => live.np.messages.publishBatch({ channelId: "orders", messages: [{ payload: 1 }, { payload: 2 }] }),
      done: async () => (await positions("billing")) === 2,
    },
    {
      of: "copies of another region",
      prints: ["0 { version: 1 }", /^ml\.models of us-east is \d+ records behind$/],
      isEndless: true,
      given: () => east.np.messages.publish({ channelId: "ml.models", type: "model.deployed", payload: { version: 1 } }),
    },
    {
      of: "what a copy does not have",
      before: `${CLIENT}\nprocess.on("exit", () => console.log(messages.length, deployed.messages.length));`,
      prints: ["1 1"],
    },
    {
      of: "a log for each region",
      prints: ["eu-west 17 west", "us-east 40 east"],
      isEndless: true,
      given: async () => {
        for (const { np } of [east, west]) await np.channels.create({ name: "ml.feedback", regions: "each" });
        const messages = (payload: string) => Array.from({ length: 41 }, () => ({ payload }));
        await east.np.messages.publishBatch({ channelId: "ml.feedback", messages: messages("east") });
        await west.np.messages.publishBatch({ channelId: "ml.feedback", messages: messages("west") });
      },
    },
    {
      of: "agents",
      before: `${CLIENT}\nconst searchTheWeb = async (query: string): Promise<string> => \`found \${query}\`;`,
      prints: ["found competitor prices", /^ses_.* task\.assign \{ task: 'Research' \}$/],
      isEndless: true,
    },
    {
      of: "promises",
      before: [
        'import { readFile, writeFile } from "node:fs/promises";',
        'import { Receipt } from "@npayload/node";',
        CLIENT,
        "console.warn = console.log;",
        'const session = { id: process.argv[2] ?? "" };',
      ].join("\n"),
      prints: ["a human looks at what it delivers"],
      given: async () => {
        const participants = [{ agentId: "coordinator-agent", role: "coordinator" }, { agentId: "research-agent", role: "specialist" }] as const;
        ({ id: sessionId } = await live.np.asp.sessions.create({ topic: "Pricing", participants }));
      },
      done: async () => {
        const { items } = await live.np.asp.commitments.list({ sessionId });
        return items[0]?.state === "fulfilled";
      },
    },
    {
      of: "agents of another region",
      before: CLIENT,
      prints: [/^0 \d+$/, /^eu-west /, "us-east 2.1.0"],
      given: () => east.np.asp.registry.register({ name: "research-agent", version: "2.1.0" }),
    },
    {
      of: "TLS",
      before: 'import { readFile } from "node:fs/promises";\nimport { NPayload } from "@npayload/node";\nconst apiKey = undefined;\nprocess.on("beforeExit", () => void np.connect().then(() => { console.log(np.status.state); process.exit(); }));',
      prints: ["connected"],
    },
    { of: "testing", before: 'import { NPayload } from "@npayload/node";', prints: [] },
  ];

  /** The program of a snippet. */
  function program(at: number): string {
    return [SNIPPETS[at]?.before ?? "", BLOCKS[at] ?? "", "export {};"].join("\n");
  }

  test("is all here, and compiles under strict as it stands", () => {
    expect(BLOCKS).toHaveLength(SNIPPETS.length);
    expect(typeErrors(new Map(SNIPPETS.map(({ of }, at) => [`${of.replaceAll(" ", "-")}.ts`, program(at)])))).toEqual([]);
  });

  test.each(SNIPPETS.map((snippet, at) => ({ ...snippet, at })))("$of: runs, and prints what it says", async ({ of, at, prints, isEndless, given, done }) => {
    await given?.();
    const isRegional = /region|copy/.test(of);
    const pair = ["--tls-cert", join(folder.path, "server.pem"), "--tls-key", join(folder.path, "server-key.pem")];
    const secure = of === "TLS" ? await startBroker({ args: pair }) : undefined;
    const code = program(at).replace("npayload://eu-west.example:7400", west.broker.url).replace("npayload+tls://broker.example", secure?.url ?? "");
    const child = folder.start(await folder.write(`${at}.ts`, code), isRegional ? west.broker.url : live.url, [sessionId]);
    const lines: string[] = [];
    let isOver = false;
    let rest = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    });
    const ended = new Promise<number | null>((resolve) => child.once("close", (code) => ((isOver = true), resolve(code))));
    const isPrinted = (wanted: string | RegExp): boolean => lines.some((line) => (typeof wanted === "string" ? line === wanted : wanted.test(line)));
    if (of === "first program") {
      // The tail at its end waits for what comes.
      await eventually(async () => (isPrinted("1") || isOver ? true : undefined));
      await live.np.messages.publish({ channelId: "ml.feedback.production", payload: { late: true } });
    }
    if (isEndless) {
      await eventually(async () => (isOver || (prints.every(isPrinted) && (await (done?.() ?? true))) ? true : undefined));
      expect(isOver, `it ended by itself: ${lines.join("\n")}`).toBe(false);
      child.kill("SIGKILL");
      await ended;
    } else {
      expect(await ended).toBe(0);
      for (const wanted of prints) expect(isPrinted(wanted), `${wanted} in ${lines.join("\n")}`).toBe(true);
      expect((await done?.()) ?? true).toBe(true);
    }
    await secure?.stop();
  });
});
