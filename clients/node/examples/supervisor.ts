/**
 * A supervisor that gives tasks to whoever can do them, and collects the results. Supervisor and workers talk through their
 * inboxes alone, so each may as well be a program of its own on a machine of its own.
 *
 *     node examples/supervisor.ts
 */
import { NPayload } from "@npayload/node";

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });

/** A worker: takes tasks of one session, until the session ends. */
async function work(name: string, sessionId: string): Promise<void> {
  for await (const entry of np.asp.messages.receive({ agentId: name })) {
    // An inbox has all sessions of its agent, from the first on.
    if (entry.sessionId !== sessionId) continue;
    const { record } = entry;
    if (record.type === "session.ended") return;
    if (record.type !== "session.messageSent" || record.message.type !== "task.assign") continue;
    const inReplyTo = record.message.id;
    const { words } = record.payload as { words: string };
    if (words === "" || (name === "counter-2" && words.startsWith("one"))) {
      await np.asp.messages.send({ sessionId, from: name, type: "task.reject", inReplyTo, payload: { code: "NOT_MINE" } });
      continue;
    }
    await np.asp.messages.send({ sessionId, from: name, type: "task.accept", inReplyTo });
    const count = words.split(" ").length;
    await np.asp.messages.send({ sessionId, from: name, to: record.message.sender, type: "task.result", inReplyTo, payload: { count } });
  }
}

for (const name of ["counter-1", "counter-2", "counter-3"]) await np.asp.registry.register({ name, capabilities: ["words.count"] });
const workers = [...(await np.asp.registry.search({ capabilities: ["words.count"] }))].map(({ name }) => name);

const session = await np.asp.sessions.create({
  topic: "Count the words of a book",
  participants: [{ agentId: "supervisor", role: "coordinator" }, ...workers.map((agentId) => ({ agentId, role: "specialist" as const }))],
});
const sessionId = session.id;
const working = Promise.all(workers.map((name) => work(name, sessionId)));

// Which worker has which task, and who has refused it: a task that is refused goes to the next one.
interface Task {
  readonly words: string;
  readonly refusedBy: readonly string[];
}
const open = new Map<string, Task & { readonly worker: string }>();
const counts = new Map<string, number>();
let turn = 0;

async function assign(task: Task): Promise<void> {
  const able = workers.filter((name) => !task.refusedBy.includes(name));
  const worker = able[turn++ % able.length];
  if (worker === undefined) throw new Error(`nobody takes ${JSON.stringify(task.words)}`);
  // The answer has to come within a minute; if not, the broker says so with a record of type session.responseOverdue.
  const constraints = { maxResponseTimeMs: 60_000 };
  const payload = { words: task.words };
  const { id } = await np.asp.messages.send({ sessionId, from: "supervisor", to: worker, type: "task.assign", payload, constraints });
  open.set(id, { ...task, worker });
}

for (const words of ["one", "two words", "one two three", "and four more words", "one two three four five"]) await assign({ words, refusedBy: [] });

for await (const { sessionId: of, record } of np.asp.messages.receive({ agentId: "supervisor" })) {
  if (of !== sessionId || record.type !== "session.messageSent") continue;
  const { inReplyTo = "", type } = record.message;
  const task = open.get(inReplyTo);
  if (task === undefined) continue;
  if (type === "task.result") {
    counts.set(task.words, (record.payload as { count: number }).count);
    open.delete(inReplyTo);
  } else if (type === "task.reject") {
    open.delete(inReplyTo);
    await assign({ words: task.words, refusedBy: [...task.refusedBy, task.worker] });
  }
  if (open.size === 0) break;
}

// The end of the session is in every inbox, and ends the workers.
await np.asp.messages.send({ sessionId, from: "supervisor", performative: "CLOSE", payload: { outcome: "counted" } });
await working;
for (const [words, count] of [...counts].sort(([a], [b]) => a.length - b.length)) console.log(`${count}: ${words}`);

await np.close();
