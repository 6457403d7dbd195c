import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withBroker } from "./support/client.js";
import { PACKAGE, ProgramFolder } from "./support/programs.js";

/** The types of the examples are checked by `tsc -p tsconfig.json`; here they run. */
describe("the examples", () => {
  const live = withBroker();
  let folder: ProgramFolder;
  const files = new Map<string, string>();
  beforeAll(async () => {
    folder = await ProgramFolder.make();
    for (const name of await readdir(join(PACKAGE, "examples"))) {
      files.set(name, await folder.write(name, await readFile(join(PACKAGE, "examples", name), "utf8")));
    }
  });
  afterAll(() => folder.remove());

  const tried = new Set<string>();
  function example(name: string): string {
    tried.add(name);
    const file = files.get(name);
    if (file === undefined) throw new Error(`there is no example ${name}`);
    return file;
  }
  const printed = async (name: string, ...args: string[]): Promise<string[]> => (await folder.run(example(name), live.url, args)).split("\n");

  test("research-workflow: three agents from the task to the close, twice in a row", async () => {
    for (const _ of [1, 2]) {
      expect(await printed("research-workflow.ts")).toEqual([
        "session CLOSED",
        "coordinator-agent: task.assign",
        "research-agent: task.accept",
        "research-agent: task.result",
        "writer-agent: status.update",
        "coordinator-agent: CLOSE",
        "web-search: finished",
        expect.stringMatching(/^fetch-page: /),
        expect.stringMatching(/^fetch-page: /),
      ]);
    }
    // What it left, as others see it.
    const sessions = [];
    for await (const session of live.np.asp.sessions.list({ agentId: "writer-agent" })) sessions.push(session);
    expect(sessions.map(({ state }) => state)).toEqual(["CLOSED", "CLOSED"]);
    expect((await live.np.asp.registry.get({ agentId: "writer-agent" })).standing).toBe("placeholder");
    const calls = [...(await live.np.asp.tools.list({ sessionId: sessions[0]?.id }))];
    const [search] = calls.filter(({ tool }) => tool === "web-search");
    expect(calls.filter(({ tool }) => tool === "fetch-page")).toMatchObject([{ parentCallId: search?.id }, { parentCallId: search?.id }]);
    expect(calls.find(({ outcome }) => outcome === "failed")).toMatchObject({ arguments: ["https://a.example/gone"], errorType: "Error", message: "https://a.example/gone: 404" });
    expect(search?.result).toEqual([{ url: "https://a.example/prices", price: 129 }]);
  });

  test("find-agents: the registry, twice in a row", async () => {
    for (const _ of [1, 2]) {
      expect(await printed("find-agents.ts")).toEqual([
        "vision-large: trust=0, capabilities=image.analysis,image.object-detection",
        "who sees: vision-small, vision-large",
        "online: vision-small",
        "first now: vision-large",
        'interfaces: [{"protocolBinding":"JSONRPC","protocolVersion":"1.0","url":"https://agents.example.com/vision-small"}]',
      ]);
    }
    expect([...(await live.np.asp.registry.search({ capabilities: ["image.*"] }))]).toEqual([]);
  });

  test("feedback-replay: a second training reads only what came since the first", async () => {
    expect(await printed("feedback-replay.ts")).toEqual(["trained on 1000, mean error 0.25, next training from 1000"]);
    expect(await printed("feedback-replay.ts", "1000")).toEqual(["trained on 1000, mean error 0.25, next training from 2000"]);
    expect((await live.np.streams.info({ streamId: "ml.feedback.example" })).logEnd).toBe(2000);
  });

  test("supervisor: every task is carried out by somebody who takes it, twice in a row", async () => {
    for (const _ of [1, 2]) {
      expect(await printed("supervisor.ts")).toEqual(["1: one", "2: two words", "3: one two three", "4: and four more words", "5: one two three four five"]);
    }
    const [last] = await live.np.asp.sessions.list({ agentId: "supervisor" });
    const { records } = await live.np.asp.messages.history({ sessionId: last?.id ?? "" });
    const said = records.flatMap(({ record }) => (record.type === "session.messageSent" ? [record.message.type ?? record.message.performative] : []));
    expect(said.filter((type) => type === "task.result").length).toBe(5);
    // Somebody refused, and the task went to another.
    expect(said.filter((type) => type === "task.assign").length).toBe(5 + said.filter((type) => type === "task.reject").length);
    expect(said).toContain("task.reject");
  });

  test("resuming-worker: killed again and again, it does each task once", async () => {
    const name = "killed-worker";
    const file = example("resuming-worker.ts");
    await live.np.asp.registry.register({ name });
    const { id: sessionId } = await live.np.asp.sessions.create({
      topic: "Squares",
      participants: [
        { agentId: "teacher", role: "coordinator" },
        { agentId: name, role: "specialist" },
      ],
    });
    const TASKS = 24;
    for (let n = 0; n < TASKS; n += 1) await live.np.asp.messages.send({ sessionId, from: "teacher", to: name, type: "task.assign", payload: { n } });
    const results: unknown[] = [];
    const accepts = new Map<string, number>();
    let from = 0;
    let kills = 0;
    let worker = folder.start(file, live.url, [name]);
    while (results.length < TASKS) {
      const page = await live.np.asp.messages.history({ sessionId, from, waitMs: 20_000 });
      from = page.next;
      for (const { record } of page.records) {
        if (record.type !== "session.messageSent") continue;
        const { type, inReplyTo = "" } = record.message;
        if (type === "task.accept") accepts.set(inReplyTo, (accepts.get(inReplyTo) ?? 0) + 1);
        if (type === "task.result") results.push(record.payload);
        // In the midst of a task, and between a result and the cursor.
        if (type === (kills % 2 === 0 ? "task.accept" : "task.result") && accepts.size === 5 * (kills + 1) && kills < 4) {
          kills += 1;
          worker.kill("SIGKILL");
          await once(worker, "exit");
          worker = folder.start(file, live.url, [name]);
        }
      }
    }
    expect(kills).toBe(4);
    worker.kill("SIGTERM");
    expect(await once(worker, "exit")).toEqual([0, null]);
    // One more start has nothing left to do.
    const idle = folder.start(file, live.url, [name]);
    await once(idle.stdout as NodeJS.ReadableStream, "data");
    await live.np.asp.messages.send({ sessionId, from: "teacher", to: name, type: "task.assign", payload: { n: TASKS } });
    for (let found = false; !found; ) {
      const page = await live.np.asp.messages.history({ sessionId, from, waitMs: 20_000 });
      from = page.next;
      for (const { record } of page.records) {
        if (record.type !== "session.messageSent" || record.message.type !== "task.result") continue;
        results.push(record.payload);
        found = true;
      }
    }
    idle.kill("SIGTERM");
    await once(idle, "exit");
    expect(results).toEqual(Array.from({ length: TASKS + 1 }, (_, n) => ({ n, square: n * n })));
    expect([...accepts.values()].every((count) => count === 1)).toBe(true);
  });

  test("signing-agent: signs, and nobody else does", async () => {
    expect(await printed("signing-agent.ts")).toEqual([
      "unsigned: refused",
      "signed by somebody else: refused",
      "kept with its signature: true, key: true",
      "said with the new key: message 2",
    ]);
  });

  test("tour: a promise kept and one broken, and what follows, twice in a row", async () => {
    for (const run of [1, 2]) {
      expect(await printed("tour.ts", String(run - 1))).toEqual([
        "a session of 3",
        "promise fulfilled",
        "receipt explicit",
        "dispute resolved: upheld",
        "the researcher is trusted more: true",
        "the writer's dispute rate: 1",
        "because of: dispute.ruled, commitment.ended",
        "research-agent: web-search, summarization, citation",
        `trained on 1, next training from ${run}`,
        "deployment told: synced",
      ]);
    }
    const promises = await live.np.asp.commitments.list({ agentId: "research-agent" });
    expect([...promises].map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
    expect([...(await live.np.asp.disputes.list({ agentId: "writer-agent" }))].map(({ ruling }) => ruling?.verdict)).toEqual(["upheld", "upheld"]);
  });

  test("are all tried here", () => {
    expect([...tried].sort()).toEqual([...files.keys()].sort());
  });
});
