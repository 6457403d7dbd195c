/**
 * Feedback of a model in a stream, replayed for retraining from where the last training ended.
 *
 *     node examples/feedback-replay.ts [lastTrainingOffset]
 */
import { NPayload } from "@npayload/node";

interface Feedback {
  readonly modelId: string;
  readonly prediction: number;
  readonly actual: number;
}

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });
const lastTrainingOffset = Number(process.argv[2] ?? 0);

// A stream of this name and configuration that is there is returned, so that a program may run twice.
const stream = await np.streams.create({ name: "ml.feedback.example", retentionDays: 365 });

// Many publishes at a time share batches and syncs: awaiting each one alone would wait for the disk a thousand times.
const feedback = Array.from({ length: 1000 }, (_, n): Feedback => ({ modelId: "pricing-model-v3", prediction: (n % 100) / 100, actual: 0.5 }));
await Promise.all(feedback.map((payload) => np.messages.publish({ channelId: stream.id, type: "inference.feedback", payload })));

// A replay goes on until it has read what was there when it began. `consume` never waits; `nextOffset` is where the next
// call begins, and what to keep with the model that was trained: the next training starts there.
const { logEnd } = await np.streams.info({ streamId: stream.id });
let next = lastTrainingOffset;
let seen = 0;
let error = 0;
while (next < logEnd) {
  const data = await np.streams.consume<Feedback>({ streamId: stream.id, fromOffset: next, maxMessages: 400 });
  for (const { payload } of data) {
    seen += 1;
    error += Math.abs(payload.prediction - payload.actual);
  }
  next = data.nextOffset;
}
console.log(`trained on ${seen}, mean error ${(error / seen).toFixed(2)}, next training from ${next}`);

await np.close();
