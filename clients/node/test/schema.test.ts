import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import { SchemaError, type StandardSchemaV1 } from "../src/index.js";
import { freshName, withBroker } from "./support/client.js";

const live = withBroker();

const libraries = {
  zod: z.object({ prediction: z.number(), tags: z.array(z.object({ name: z.string() })) }),
  valibot: v.object({ prediction: v.number(), tags: v.array(v.object({ name: v.string() })) }),
  arktype: type({ prediction: "number", tags: type({ name: "string" }).array() }),
};

describe("events with schemas", () => {
  for (const [library, schema] of Object.entries(libraries) as [string, StandardSchemaV1<{ prediction: number; tags: { name: string }[] }>][]) {
    test(`of ${library} are checked when they are published and read`, async () => {
      const events = live.np.events({ "inference.feedback": schema });
      const channelId = freshName(library);
      const payload = { prediction: 0.87, tags: [{ name: "a" }] };
      await events.publish({ channelId, type: "inference.feedback", payload });
      const wrong = { prediction: 1, tags: [{ name: "a" }, { name: 7 as unknown as string }] };
      const failed = events.publish({ channelId, type: "inference.feedback", payload: wrong });
      await expect(failed).rejects.toThrow(SchemaError);
      await expect(failed).rejects.toMatchObject({ code: "SCHEMA_INVALID", issues: [{ path: ["tags", 1, "name"] }] });
      await expect(events.publishBatch({ channelId, messages: [{ type: "inference.feedback", payload: wrong }] })).rejects.toThrow(SchemaError);
      await live.np.messages.publish({ channelId, type: "another.type", payload: 1 });
      const read = await events.consume({ streamId: channelId });
      expect(read).toMatchObject({ nextOffset: 2, events: [{ type: "inference.feedback", payload, offset: 0 }] });
      await live.np.messages.publish({ channelId, type: "inference.feedback", payload: wrong });
      await expect(events.consume({ streamId: channelId })).rejects.toThrow(SchemaError);
    });
  }

  test("are typed by their type", async () => {
    const events = live.np.events({
      "inference.feedback": z.object({ prediction: z.number() }),
      "model.deployed": z.object({ endpoint: z.string().default("none") }),
    });
    const channelId = freshName();
    await events.publish({ channelId, type: "model.deployed", payload: {} });
    // @ts-expect-error a prediction is a number
    await expect(events.publish({ channelId, type: "inference.feedback", payload: { prediction: "high" } })).rejects.toThrow(SchemaError);
    // @ts-expect-error there is no schema for this type
    await expect(events.publish({ channelId, type: "no.such", payload: {} })).rejects.toThrow(/no schema for events of type "no.such"/);
    for await (const event of events.tail({ streamId: channelId, toOffset: 1 })) {
      expectTypeOf(event.offset).toEqualTypeOf<number>();
      if (event.type === "model.deployed") {
        expectTypeOf(event.payload).toEqualTypeOf<{ endpoint: string }>();
        expect(event.payload).toEqual({ endpoint: "none" });
      } else {
        expectTypeOf(event.payload).toEqualTypeOf<{ prediction: number }>();
      }
    }
  });
});
