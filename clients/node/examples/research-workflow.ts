/**
 * A research workflow of three agents, from the task to the close. One of them is registered; the names of the others are
 * enough, and become placeholders.
 *
 *     npayload serve &
 *     node examples/research-workflow.ts
 */
import { NPayload } from "@npayload/node";

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });

// Registering is an upsert: a second run brings the same agent back.
const researcher = await np.asp.registry.register({
  name: "research-agent",
  capabilities: ["web-search", "summarization", "citation"],
  version: "2.1.0",
});

// All are of one organisation, so that the session is open at once and nobody has to be invited.
const session = await np.asp.sessions.create({
  topic: "Market analysis for Q1 2026",
  participants: [
    { agentId: "coordinator-agent", role: "coordinator" },
    { agentId: researcher.id, role: "specialist" },
    { agentId: "writer-agent", role: "specialist" },
  ],
});
const sessionId = session.id;

// Everybody in the session may read the task; `to` says who is to act, and only that agent can accept it.
const task = await np.asp.messages.send({
  sessionId,
  from: "coordinator-agent",
  to: researcher.id,
  type: "task.assign",
  payload: { task: "Research competitor pricing changes in Q1", deadline: "2026-03-15T00:00:00Z", priority: "high" },
});
await np.asp.messages.send({ sessionId, from: researcher.id, type: "task.accept", inReplyTo: task.id });

// Wrapped functions work as before; start, arguments, result or failure, and duration of each call go on the record. A call
// that is made within another names it as its parent.
const fetchPage = np.asp.tools.wrap(
  async (url: string) => {
    if (url.endsWith("/gone")) throw new Error(`${url}: 404`);
    return { url, price: 129 };
  },
  { tool: "fetch-page", agentId: researcher.id, sessionId },
);
const search = np.asp.tools.wrap(
  async (_query: string) => {
    const pages = await Promise.allSettled(["https://a.example/prices", "https://a.example/gone"].map((url) => fetchPage(url)));
    return pages.flatMap((page) => (page.status === "fulfilled" ? [page.value] : []));
  },
  { tool: "web-search", agentId: researcher.id, sessionId },
);
const findings = await search("competitor pricing Q1");

// The result answers the task. The writer is told how the researcher got there, not only what it found.
await np.asp.messages.send({
  sessionId,
  from: researcher.id,
  to: "writer-agent",
  type: "task.result",
  inReplyTo: task.id,
  payload: { findings, summary: "One competitor lowered its price to 129." },
});
await np.asp.messages.send({ sessionId, from: "writer-agent", type: "status.update", payload: { status: "report drafted", progress: 1 } });
const closed = await np.asp.messages.send({ sessionId, from: "coordinator-agent", performative: "CLOSE", payload: { outcome: "delivered" } });
console.log(`session ${closed.state}`);

// What was said, by whom. The record keeps identities, so that a name may change hands without changing the past.
const nameOf = new Map(session.participants.map(({ agentId, name }) => [agentId, name]));
const { records } = await np.asp.messages.history({ sessionId });
for (const { record } of records) {
  if (record.type !== "session.messageSent") continue;
  const { sender, type, performative } = record.message;
  console.log(`${nameOf.get(sender)}: ${type ?? performative}`);
}

// The auditor's question: every call of this agent in this session, the one that ended last first.
for await (const call of np.asp.tools.list({ agentId: researcher.id, sessionId })) {
  console.log(`${call.tool}: ${call.outcome}${call.message === undefined ? "" : ` (${call.message})`}`);
}

await np.close();
