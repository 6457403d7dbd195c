/**
 * A tour of what npayload does for a company whose agents work together: a session with a task, a check of trust, a search for
 * specialists, a promise that is kept and one that is not, a stream of feedback that is replayed, and an event for other regions.
 *
 *     npayload serve &
 *     node examples/tour.ts [lastTrainingOffset]
 */
import { NPayload } from "@npayload/node";

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });
const lastTrainingOffset = Number(process.argv[2] ?? 0);

// 1. Who works. The other two are known by their names alone, until they register.
const agent = await np.asp.registry.register({
  name: "research-agent",
  capabilities: ["web-search", "summarization", "citation"],
  version: "2.1.0",
});
const session = await np.asp.sessions.create({
  topic: "Market analysis for Q1 2026",
  participants: [
    { agentId: "coordinator-agent", role: "coordinator" },
    { agentId: agent.id, role: "specialist" },
    { agentId: "writer-agent", role: "specialist" },
  ],
});
const sessionId = session.id;
const task = await np.asp.messages.send({
  sessionId,
  from: "coordinator-agent",
  to: agent.id,
  type: "task.assign",
  payload: { task: "Research competitor pricing changes in Q1", deadline: "2026-03-15T00:00:00Z", priority: "high" },
});
await np.asp.messages.send({ sessionId, from: agent.id, type: "task.accept", inReplyTo: task.id });
console.log(`a session of ${session.participants.length}`);

// 2. A promise that binds: delivered with what shows it, and confirmed by whom it was made to.
const kept = await np.asp.commitments.create({
  sessionId,
  agentId: agent.id,
  counterparty: "coordinator-agent",
  description: "Deliver competitor pricing analysis",
  deadline: new Date(Date.now() + 3_600_000),
});
const result = await np.asp.messages.send({
  sessionId,
  from: agent.id,
  to: "writer-agent",
  type: "task.result",
  inReplyTo: task.id,
  payload: { summary: "One competitor lowered its price to 129." },
});
await np.asp.commitments.deliver({ commitmentId: kept.id, references: [{ sessionId, sequence: result.sequence }] });
const confirmed = await np.asp.commitments.confirm({ commitmentId: kept.id, agentId: "coordinator-agent" });
console.log(`promise ${confirmed.state}`);

// The receipt proves it without the broker, to whoever asks, whenever.
const receipt = await np.asp.commitments.receipt({ commitmentId: kept.id });
console.log(`receipt ${receipt.verify().confirmation}`);

// 3. A promise whose deadline has passed: the broker's clock sees it, and the log rules on the dispute at once.
const late = await np.asp.commitments.create({
  sessionId,
  agentId: "writer-agent",
  description: "Deliver the report",
  deadline: "2026-03-15T00:00:00Z",
});
const dispute = await np.asp.disputes.create({
  commitmentId: late.id,
  reason: "The report was not delivered by the deadline",
  evidence: { missedDeadline: true },
});
console.log(`dispute ${dispute.state}: ${dispute.ruling?.verdict}`);

// 4. What follows from that for trust. It is a lower bound: it grows with evidence, and without any it is 0.
const [researcher, writer] = await Promise.all(["research-agent", "writer-agent"].map((agentId) => np.asp.trust.getScore({ agentId })));
if (researcher === undefined || writer === undefined) throw new Error("two agents have two scores");
console.log(`the researcher is trusted more: ${researcher.score > writer.score}`);
console.log(`the writer's dispute rate: ${writer.disputeRate}`);
if (writer.score < 0.8) {
  const { evidence } = await np.asp.trust.explain({ agentId: "writer-agent", limit: 2 });
  console.log(`because of: ${evidence.map(({ record }) => record.type).join(", ")}`);
}

// 5. Who could do it instead, the most trusted first.
const agents = await np.asp.registry.search({ capabilities: ["web-search", "citation"], minTrustScore: 0.2 });
for (const { name, capabilities } of agents) console.log(`${name}: ${capabilities.join(", ")}`);

// 6. Feedback for the next training, and its replay from where the last one ended.
const stream = await np.streams.create({ name: "ml.feedback.tour", retentionDays: 365 });
await np.messages.publish({
  channelId: "ml.feedback.tour",
  type: "inference.feedback",
  payload: { modelId: "pricing-model-v3", inputHash: "sha256:abc123", prediction: 0.87, actual: 0.91, feedbackSource: "user-correction" },
});
const trainingData = await np.streams.consume({ streamId: stream.id, fromOffset: lastTrainingOffset, maxMessages: 10_000 });
console.log(`trained on ${trainingData.messages.length}, next training from ${trainingData.nextOffset}`);

// 7. An event for everybody who serves models, in whichever region.
const { level } = await np.messages.publish({
  channelId: "ml.model-updates.tour",
  type: "model.deployed",
  payload: { modelId: "pricing-model-v4", region: "us-east", endpoint: "https://us-east.models.example.com/v4" },
});
console.log(`deployment told: ${level}`);

await np.asp.messages.send({ sessionId, from: "coordinator-agent", performative: "CLOSE", payload: { outcome: "delivered" } });
await np.close();
