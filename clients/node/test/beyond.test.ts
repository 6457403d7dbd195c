import { describe, expect, test } from "vitest";
import { CopyPartialError, InvalidArgumentError, type Message, RegionUnreachableError } from "../src/index.js";
import { freshName } from "./support/client.js";
import { eventually, withRegions } from "./support/regions.js";

const { east, west } = withRegions();

const texts = (messages: Iterable<Message>): string[] => [...messages].map(({ offset, payload }) => `${offset} ${String(payload)}`);
const ALL = ["0 early a", "1 early b", "2 late a", "3 late b"];

/** A channel of the first region, of which the second has a copy: from the third record on, and of one type. */
async function partlyCopied(): Promise<string> {
  const name = freshName("partial");
  const publish = (when: string, type: string) => east.np.messages.publish({ channelId: name, type, payload: `${when} ${type}` });
  for (const type of ["a", "b"]) await publish("early", type);
  const wanted = { pattern: name, types: ["a"], from: "end" } as const;
  expect(await west.np.interest.add(wanted)).toMatchObject(wanted);
  const copy = async () => (await west.np.regions.status()).copies.find((row) => row.name === name);
  await eventually(copy);
  for (const type of ["a", "b"]) await publish("late", type);
  await eventually(async () => ((await copy())?.next === 4 ? true : undefined));
  return name;
}

describe("what a copy does not have", () => {
  test("is read at its home, in order and at the same offsets, and does not stay", async () => {
    const streamId = await partlyCopied();
    const consume = async (more: object): Promise<string[]> => texts(await west.np.streams.consume({ streamId, ...more }));
    await eventually(async () => ((await consume({ fromOffset: 2, types: ["a"] })).length > 0 ? true : undefined));
    expect(await consume({ fromOffset: 0 })).toEqual(ALL);
    expect(await consume({ fromOffset: 1, maxMessages: 2 })).toEqual(ALL.slice(1, 3));
    // In front of the first record of the copy, over what it passed over, and both.
    expect(await consume({ fromOffset: 0, types: ["a"] })).toEqual([ALL[0], ALL[2]]);
    expect(await consume({ fromOffset: 2 })).toEqual(ALL.slice(2));
    expect(await consume({ fromOffset: 3 })).toEqual(ALL.slice(3));
    // The log start is the copy's own.
    expect(await consume({})).toEqual(ALL.slice(2));
    expect((await west.np.regions.status()).copies.find((row) => row.name === streamId)).toMatchObject({ beginsAt: 2, types: ["a"] });
    const read: Message[] = [];
    for await (const message of west.np.streams.tail({ streamId, fromOffset: 0 })) {
      read.push(message);
      if (read.length === 4) await east.np.messages.publish({ channelId: streamId, type: "b", payload: "later b" });
      if (read.length === 5) break;
    }
    expect(texts(read)).toEqual([...ALL, "4 later b"]);
    // A copy begins at its own start, and from there it is led on to the home.
    await using subscription = await west.np.consumers.subscribe({ channelId: streamId, consumer: "reader" });
    const seen: Message[] = [];
    for await (const message of subscription) {
      seen.push(message);
      if (seen.length === 3) break;
    }
    expect(texts(seen)).toEqual([...ALL.slice(2), "4 later b"]);
  });

  test("is an error to who does not want the home to be asked, and no loss", async () => {
    const streamId = await partlyCopied();
    const request = { streamId, readHome: false } as const;
    const lost: unknown[] = [];
    await eventually(async () => ((await west.np.streams.consume({ ...request, fromOffset: 2, types: ["a"] })).messages.length > 0 ? true : undefined));
    for (const more of [{ fromOffset: 0 }, { fromOffset: 0, types: ["a"] }, { fromOffset: 3 }, { fromOffset: 2, types: ["b"] }]) {
      const refused = await west.np.streams.consume({ ...request, ...more, onLost: (one) => lost.push(one) }).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(CopyPartialError);
      expect(refused).toMatchObject({ details: { from: 2, types: ["a"] } });
    }
    await expect(west.np.streams.tail({ ...request, fromOffset: 1 }).next()).rejects.toThrow(CopyPartialError);
    // What comes before it is handed out.
    const { messages, nextOffset } = await west.np.streams.consume({ ...request, fromOffset: 2 });
    expect([texts(messages), nextOffset]).toEqual([["2 late a"], 3]);
    const led = await west.np.streams.consume({ ...request, types: ["a"] });
    expect([texts(led.messages), led.nextOffset, led.isAtEnd]).toEqual([["2 late a"], 4, true]);
    expect(lost).toEqual([]);
  });

  test("can't be read while the home is away, unlike what it has", async () => {
    const streamId = await partlyCopied();
    await eventually(async () => ((await west.np.streams.consume({ streamId, fromOffset: 2, types: ["a"] })).messages.length > 0 ? true : undefined));
    await east.broker.stop({ keepData: true });
    await expect(west.np.streams.consume({ streamId, fromOffset: 0 }, { timeoutMs: 1000 })).rejects.toThrow(RegionUnreachableError);
    expect(texts(await west.np.streams.consume({ streamId, types: ["a"] }))).toEqual(["2 late a"]);
    const tail = west.np.streams.tail({ streamId, fromOffset: 0 });
    const first = tail.next();
    await east.broker.start();
    // It goes on by itself once the home is back.
    expect(texts([(await first).value as Message])).toEqual(ALL.slice(0, 1));
    await tail.return();
  });

  test("types that are wanted are checked before anything is sent", async () => {
    const streamId = "a";
    for (const types of [[], Array.from({ length: 101 }, (_, n) => `t${n}`)]) {
      await expect(west.np.streams.consume({ streamId, types })).rejects.toThrow(InvalidArgumentError);
      expect(() => west.np.streams.tail({ streamId, types })).toThrow(InvalidArgumentError);
      expect(() => west.np.streams.merged({ streamId, types })).toThrow(InvalidArgumentError);
    }
  });
});
