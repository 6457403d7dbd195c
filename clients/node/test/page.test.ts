import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";
import { ProgramFolder, typeErrors } from "./support/programs.js";

/** The blocks of the documentation's page as they stand, as one program. It declares nothing but where the last training ended. */
const BLOCKS = [...repositoryFile("clients/node/test/fixtures/page.md").toString().matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code ?? "");
const DECLARED = "const lastTrainingOffset = 0;";
const PROGRAM = [DECLARED, ...BLOCKS].join("\n");

interface Consumed {
  readonly offset: number;
  readonly type: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

describe("the documentation's page", () => {
  const live = withBroker();
  let folder: ProgramFolder;
  beforeAll(async () => {
    folder = await ProgramFolder.make();
  });
  afterAll(() => folder.remove());

  /** What the command line reads of a channel. */
  function consumed(channel: string): Consumed[] {
    const args = ["consume", channel, "--from", "start", "--json", "--url", live.url];
    const lines = execFileSync(process.env.NPAYLOAD_BIN as string, args, { encoding: "utf8" }).trim().split("\n");
    return lines.map((line) => {
      const { offset, type, payload } = JSON.parse(line) as Consumed;
      return { offset, type, payload };
    });
  }
  const typesOf = (records: readonly Consumed[]): string[] => records.map(({ type }) => type);

  test("has six blocks, and compiles under strict as it stands", () => {
    expect(BLOCKS).toHaveLength(6);
    expect(typeErrors(new Map([["page.ts", PROGRAM]]))).toEqual([]);
    // The check sees errors where there are some.
    expect(typeErrors(new Map([["page.ts", PROGRAM.replace("trust.score < 0.8", 'trust.score < "0.8"')]]))).toHaveLength(1);
  });

  test("runs twice in a row on a broker where nothing was before, and ends by itself", async () => {
    const file = await folder.write("page.ts", PROGRAM);
    expect(await folder.run(file, live.url)).toBe("");
    expect(await folder.run(file, live.url)).toBe("");
  });

  test("has left the stream and the channel, exactly", () => {
    const feedback = { modelId: "pricing-model-v3", inputHash: "sha256:abc123", prediction: 0.87, actual: 0.91, feedbackSource: "user-correction" };
    expect(consumed("ml.feedback.production")).toEqual([0, 1].map((offset) => ({ offset, type: "inference.feedback", payload: feedback })));
    const deployed = { modelId: "pricing-model-v4", region: "us-east", endpoint: "https://us-east.models.example.com/v4" };
    expect(consumed("ml.model-updates")).toEqual([0, 1].map((offset) => ({ offset, type: "model.deployed", payload: deployed })));
    const info = execFileSync(process.env.NPAYLOAD_BIN as string, ["channel", "info", "ml.feedback.production", "--json", "--url", live.url], { encoding: "utf8" });
    expect(JSON.parse(info)).toMatchObject({ logEnd: 2, config: { retentionDays: 365, durability: "synced" } });
  });

  test("has left one agent that is registered, two that are named, and two sessions with one task each", async () => {
    const standings = await Promise.all(
      ["research-agent", "coordinator-agent", "writer-agent"].map((agentId) => live.np.asp.registry.get({ agentId }).then(({ standing }) => standing)),
    );
    expect(standings).toEqual(["registered", "placeholder", "placeholder"]);
    expect(await live.np.asp.registry.get({ agentId: "research-agent" })).toMatchObject({ capabilities: ["web-search", "summarization", "citation"], version: "2.1.0" });
    const sessions = consumed("__asp.sessions");
    expect(typesOf(sessions)).toEqual(["session.created", "session.messageSent", "session.created", "session.messageSent"]);
    const task = { task: "Research competitor pricing changes in Q1", deadline: "2026-03-15T00:00:00Z", priority: "high" };
    for (const said of [sessions[1], sessions[3]]) expect(said?.payload).toMatchObject({ message: { type: "task.assign", performative: "PROPOSE" }, payload: task });
    for (const created of [sessions[0], sessions[2]]) {
      const roles = (created?.payload.participants as { role: string }[]).map(({ role }) => role);
      expect({ topic: created?.payload.topic, roles }).toEqual({ topic: "Market analysis for Q1 2026", roles: ["coordinator", "specialist", "specialist"] });
    }
  });

  test("has left two promises that the clock saw broken, each with a dispute that the log ruled on", () => {
    const records = consumed("__asp.commitments");
    const run = ["commitment.created", "commitment.breached", "dispute.filed", "dispute.ruled"];
    expect(typesOf(records).filter((type) => type !== "arbitration.sealed")).toEqual([...run, ...run]);
    const of = (type: string) => records.filter((record) => record.type === type).map(({ payload }) => payload);
    for (const created of of("commitment.created")) {
      expect(created).toMatchObject({ mode: "oneSided", promise: { description: "Deliver competitor pricing analysis", deadline: Date.UTC(2026, 2, 15) } });
    }
    for (const filed of of("dispute.filed")) {
      expect(filed).toMatchObject({ reason: "Analysis was not delivered by the deadline", disputeType: "timeoutBreach", evidence: { words: { missedDeadline: true } } });
    }
    for (const ruled of of("dispute.ruled")) expect(ruled).toMatchObject({ finding: "upheld", mechanism: "automated" });
    const evidence = consumed("__asp.evidence").filter(({ type }) => type !== "clock.read");
    expect(typesOf(evidence)).toEqual(["commitment.ended", "dispute.ruled", "commitment.ended", "dispute.ruled"]);
  });

  test("knows what it was answered, and finds agents that are trusted", async () => {
    // An agent with a history: forty tasks taken, each with a promise that was kept.
    const vision = await live.np.asp.registry.register({ name: "vision", capabilities: ["image-analysis", "object-detection"] });
    const participants = [{ agentId: "gallery", role: "coordinator" }, { agentId: "vision", role: "specialist" }] as const;
    for (let n = 0; n < 40; n += 1) {
      const { id: sessionId } = await live.np.asp.sessions.create({ topic: `picture ${n}`, participants });
      const task = await live.np.asp.messages.send({ sessionId, from: "gallery", type: "task.assign", payload: { n } });
      await live.np.asp.messages.send({ sessionId, from: "vision", type: "task.accept", inReplyTo: task.id });
      const deadline = new Date(Date.now() + 3_600_000);
      const { id: commitmentId } = await live.np.asp.commitments.create({ sessionId, agentId: "vision", counterparty: "gallery", description: "labels", deadline });
      await live.np.asp.commitments.deliver({ commitmentId, evidence: { labels: ["cat"] } });
      await live.np.asp.commitments.confirm({ commitmentId });
    }
    const { trustScore } = await live.np.asp.registry.get({ agentId: vision.id });
    expect(trustScore).toBeGreaterThanOrEqual(0.85);
    const shown = "console.log(JSON.stringify([trust, commitment, trainingData.messages.map(({ offset, payload }) => [offset, payload]), trainingData.nextOffset]));";
    const file = await folder.write("page-that-tells.ts", `${PROGRAM.replace(DECLARED, "const lastTrainingOffset = 1;")}\n${shown}`);
    const [found, told] = (await folder.run(file, live.url)).split("\n");
    expect(found).toBe(`vision: trust=${trustScore}, capabilities=image-analysis,object-detection`);
    const [trust, commitment, training, next] = JSON.parse(told as string) as [Record<string, unknown>, Record<string, unknown>, [number, unknown][], number];
    // Two promises broken and no other evidence: that is no ground for trust, and is said so.
    expect(trust).toMatchObject({ name: "research-agent", score: 0, completionRate: 0, disputeRate: 1 });
    expect(commitment).toMatchObject({ description: "Deliver competitor pricing analysis", obligor: { name: "research-agent" } });
    expect([training.map(([offset]) => offset), next]).toEqual([[1, 2], 3]);
  });
});
