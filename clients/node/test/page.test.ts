import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { NPayload } from "../src/index.js";
import { withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";

const live = withBroker();

/** The lines of the documentation's page about streams and regions, with nothing but the client's address around them. */
async function streamsOfThePage(np: NPayload, lastTrainingOffset: number) {
  // Create a stream for model feedback
  const stream = await np.streams.create({
    name: "ml.feedback.production",
    retentionDays: 365,
  });
  // Log inference results and user feedback
  await np.messages.publish({
    channelId: "ml.feedback.production",
    type: "inference.feedback",
    payload: {
      modelId: "pricing-model-v3",
      inputHash: "sha256:abc123",
      prediction: 0.87,
      actual: 0.91,
      feedbackSource: "user-correction",
    },
  });
  // Replay for model retraining
  const trainingData = await np.streams.consume({
    streamId: stream.id,
    fromOffset: lastTrainingOffset,
    maxMessages: 10000,
  });
  // Events published in one region are automatically
  // replicated to instances that have expressed interest
  await np.messages.publish({
    channelId: "ml.model-updates",
    type: "model.deployed",
    payload: {
      modelId: "pricing-model-v4",
      region: "us-east",
      endpoint: "https://us-east.models.example.com/v4",
    },
  });
  return trainingData;
}

/** The lines of the page about sessions and the registry. */
async function agentsOfThePage(np: NPayload) {
  // Register your agent
  const agent = await np.asp.registry.register({
    name: "research-agent",
    capabilities: ["web-search", "summarization", "citation"],
    version: "2.1.0",
  });
  // Start a session between agents
  const session = await np.asp.sessions.create({
    topic: "Market analysis for Q1 2026",
    participants: [
      { agentId: "coordinator-agent", role: "coordinator" },
      { agentId: agent.id, role: "specialist" },
      { agentId: "writer-agent", role: "specialist" },
    ],
  });
  // Send structured messages within the session
  await np.asp.messages.send({
    sessionId: session.id,
    from: "coordinator-agent",
    type: "task.assign",
    payload: {
      task: "Research competitor pricing changes in Q1",
      deadline: "2026-03-15T00:00:00Z",
      priority: "high",
    },
  });
  // Find agents that can handle image analysis
  const agents = await np.asp.registry.search({
    capabilities: ["image-analysis", "object-detection"],
    minTrustScore: 0.85,
  });
  // Returns agents sorted by trust score and availability
  for (const agent of agents) {
    console.log(`${agent.name}: trust=${agent.trustScore}, capabilities=${agent.capabilities}`);
  }
  return session;
}

/** What the command line reads of a channel. */
function consumed(channel: string): { offset: number; type: string; payload: unknown }[] {
  const args = ["consume", channel, "--from", "start", "--json", "--url", live.url];
  const lines = execFileSync(process.env.NPAYLOAD_BIN as string, args, { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => {
    const { offset, type, payload } = JSON.parse(line) as { offset: number; type: string; payload: unknown };
    return { offset, type, payload };
  });
}

describe("the documentation's page", () => {
  test("runs twice in a row, and what it stored is read back by the command line as it was", async () => {
    const np = new NPayload({ url: live.url, apiKey: process.env.NO_SUCH_KEY });
    const first = await streamsOfThePage(np, 0);
    expect(first.messages.map(({ offset }) => offset)).toEqual([0]);
    const second = await streamsOfThePage(np, first.nextOffset);
    expect(second.messages.map(({ offset, type }) => [offset, type])).toEqual([[1, "inference.feedback"]]);
    const payload = { modelId: "pricing-model-v3", inputHash: "sha256:abc123", prediction: 0.87, actual: 0.91, feedbackSource: "user-correction" };
    expect(consumed("ml.feedback.production")).toEqual([0, 1].map((offset) => ({ offset, type: "inference.feedback", payload })));
    const deployed = { modelId: "pricing-model-v4", region: "us-east", endpoint: "https://us-east.models.example.com/v4" };
    expect(consumed("ml.model-updates")).toEqual([0, 1].map((offset) => ({ offset, type: "model.deployed", payload: deployed })));
    await np.close();
  });

  test.runIf(repositoryFile("docs/wire-protocol.md").includes("`agent.register`"))("lets agents talk, twice in a row", async () => {
    for (const _ of [1, 2]) {
      const session = await agentsOfThePage(live.np);
      const { records } = await live.np.asp.messages.history({ sessionId: session.id });
      const payload = { task: "Research competitor pricing changes in Q1", deadline: "2026-03-15T00:00:00Z", priority: "high" };
      expect(records.at(-1)?.record).toMatchObject({ type: "session.messageSent", payload });
    }
  });
});
