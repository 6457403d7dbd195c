/**
 * A worker that may be killed at any time: started again it goes on where it was, does no task twice and leaves none out.
 *
 *     node examples/resuming-worker.ts NAME CURSOR_FILE
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { type MessageRecord, NPayload } from "@npayload/node";

const [, , name = "resuming-worker", file = `${name}.cursor`] = process.argv;
const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

const { id: self } = await np.asp.registry.register({ name, capabilities: ["math.square"] });

/** The types of what this agent has said to a task already: the session remembers what a killed worker cannot. */
async function answersTo(task: MessageRecord): Promise<Set<string | undefined>> {
  const { id, session: sessionId } = task.message;
  const answers = new Set<string | undefined>();
  for (let from = task.sequence + 1; ; ) {
    const { records, next } = await np.asp.messages.history({ sessionId, agentId: self, from });
    for (const { record } of records) {
      if (record.type !== "session.messageSent" || record.message.sender !== self) continue;
      if (record.message.inReplyTo === id) answers.add(record.message.type);
    }
    if (records.length === 0) return answers;
    from = next;
  }
}

async function carryOut(task: MessageRecord): Promise<void> {
  const { id: inReplyTo, session: sessionId, sender: to } = task.message;
  const answers = await answersTo(task);
  if (answers.has("task.result")) return;
  if (!answers.has("task.accept")) await np.asp.messages.send({ sessionId, from: self, type: "task.accept", inReplyTo });
  const { n } = task.payload as { n: number };
  await new Promise((resolve) => setTimeout(resolve, 20)); // The work, which may be interrupted.
  await np.asp.messages.send({ sessionId, from: self, to, type: "task.result", inReplyTo, payload: { n, square: n * n } });
}

let cursor: string | undefined = await readFile(file, "utf8").catch(() => undefined);
console.log(cursor === undefined ? "starts" : "resumes");
while (!stop.signal.aborted) {
  try {
    const page = await np.asp.messages.inbox({ agentId: self, cursor, limit: 10, waitMs: 10_000 }, { signal: stop.signal });
    for (const { record } of page.entries) {
      if (record.type === "session.messageSent" && record.message.type === "task.assign") await carryOut(record);
    }
    // The cursor is kept after the work and never before: what was interrupted comes again. A rename is all or nothing.
    cursor = page.cursor;
    await writeFile(`${file}.new`, cursor);
    await rename(`${file}.new`, file);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
}
await np.close();
