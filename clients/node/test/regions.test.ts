import { describe, expect, test } from "vitest";
import {
  ChannelNotFoundError,
  EachRegionError,
  InterestNotFoundError,
  InvalidArgumentError,
  type MergedMessage,
  NameHeldError,
  NotARegionError,
  NotHomeError,
  NPayload,
  PurgeRefusedError,
} from "../src/index.js";
import { freshName, withBroker } from "./support/client.js";
import { eventually, withRegions } from "./support/regions.js";

const alone = withBroker();
const { east, west } = withRegions();

describe("regions", () => {
  test("a broker without a name is none", async () => {
    await expect(alone.np.regions.list()).rejects.toThrow(NotARegionError);
    await expect(alone.np.interest.add({ pattern: "a" })).rejects.toThrow(NotARegionError);
    await expect(alone.np.channels.create({ name: "a", regions: "each" })).rejects.toThrow(NotARegionError);
  });

  test("are listed with their links", async () => {
    const { region, peers } = await west.np.regions.list();
    expect(region).toBe("eu-west");
    expect(peers).toMatchObject([{ name: "us-east", state: "open" }]);
  });

  test("what was asked for comes, is tailed at the same offsets, verified and purged", async () => {
    const name = freshName("copied");
    await east.np.messages.publish({ channelId: name, payload: "before" });
    const from = { pattern: `${name.split(".")[0]}.*`, from: "start" as const, retentionDays: 30 };
    expect(await west.np.interest.add(from)).toMatchObject({ ...from, automatic: false });
    expect(await west.np.interest.list()).toContainEqual(expect.objectContaining({ pattern: from.pattern, from: "start" }));
    const read: string[] = [];
    const published = (async () => {
      for (const text of ["one", "two"]) await east.np.messages.publish({ channelId: name, payload: text });
    })();
    for await (const message of west.np.streams.tail({ streamId: name })) {
      read.push(`${message.offset} ${message.payload}`);
      if (read.length === 3) break;
    }
    await published;
    expect(read).toEqual(["0 before", "1 one", "2 two"]);
    const copy = await eventually(async () => {
      const { copies } = await west.np.regions.status();
      return copies.find((row) => row.name === name && row.next === 3 && row.followed);
    });
    expect(copy).toMatchObject({ home: "us-east", beginsAt: 0, homeFlushed: 3, lagRecords: 0, gaps: [] });
    expect(await west.np.regions.verify({ channelId: name })).toMatchObject({ equal: true, home: "us-east", from: 0, to: 3 });
    // A publish here is carried out at its home.
    expect(await west.np.messages.publish({ channelId: name, payload: "three" })).toMatchObject({ offset: 3 });
    await expect(west.np.regions.purge({ channelId: name })).rejects.toThrow(PurgeRefusedError);
    expect(await west.np.interest.remove({ pattern: from.pattern })).toEqual({ pattern: from.pattern });
    await expect(west.np.interest.remove({ pattern: from.pattern })).rejects.toThrow(InterestNotFoundError);
    // It is read still, by the tail of this test, for as long as an interest from reading lasts; the log of another is not.
    const logs = await east.np.regions.logs({ channelId: name });
    expect(logs).toMatchObject({ regions: "one", unreachable: [], logs: [{ region: "us-east", home: "us-east", held: true }] });
  });

  test("offsets come as bigints where that was asked for", async () => {
    await using np = new NPayload({ url: west.broker.url, offsets: "bigint" });
    const name = freshName("big");
    await east.np.messages.publish({ channelId: name, payload: 1 });
    await np.streams.consume({ streamId: name });
    const { copies } = await np.regions.status();
    expect(copies.find((row) => row.name === name)).toMatchObject({ beginsAt: 0n, next: 1n });
    expect((await np.regions.verify({ channelId: name })).to).toBe(1n);
  });
});

describe("a log for each region", () => {
  test("is written where one is, and read together in the one order", async () => {
    const name = freshName("each");
    const made = await east.np.channels.create({ name, regions: "each" });
    expect(made).toMatchObject({ name: `${name}@us-east`, config: { regions: "each" } });
    expect((await east.np.channels.create({ name, regions: "each" })).id).toBe(made.id);
    for (let round = 0; round < 5; round += 1) {
      for (const { np } of [east, west]) {
        expect(await np.messages.publish({ channelId: name, payload: round })).toMatchObject({ offset: round });
      }
    }
    const replay = async (np: NPayload, more: object = {}): Promise<string[]> => {
      const read: string[] = [];
      for await (const { region, message } of np.streams.merged({ streamId: name, ...more })) {
        read.push(`${message.appendTime} ${region} ${message.offset} ${message.payload}`);
      }
      return read;
    };
    const all = await replay(east.np);
    expect(all).toHaveLength(10);
    expect(all).toEqual([...all].sort());
    expect(await replay(west.np)).toEqual(all);
    const range = { from: { "us-east": 3 }, to: { "eu-west": 1, "us-east": 4 } };
    const part = all.filter((line) => / eu-west 0 | us-east 3 /.test(line));
    expect(part).toHaveLength(2);
    expect(await replay(west.np, range)).toEqual(part);
    expect(await replay(east.np, range)).toEqual(part);
    const { logs, regions } = await west.np.regions.logs({ channelId: name });
    expect(regions).toBe("each");
    expect(logs.map(({ name: log, highWatermark }) => [log, highWatermark])).toEqual([
      [`${name}@eu-west`, 5],
      [`${name}@us-east`, 5],
    ]);
    // One log by its name; the channel's own names none.
    const { messages } = await west.np.streams.consume({ streamId: `${name}@us-east` });
    expect(messages.map(({ payload }) => payload)).toEqual([0, 1, 2, 3, 4]);
    await expect(west.np.streams.consume({ streamId: name })).rejects.toThrow(EachRegionError);
  });

  test("is followed as it grows, and where another begins one", async () => {
    const name = freshName("live");
    await east.np.channels.create({ name, regions: "each" });
    await east.np.messages.publish({ channelId: name, payload: "old" });
    const merged = west.np.streams.merged<string>({ streamId: name, from: "end", follow: true });
    const first = merged.next();
    // What is there when it begins is not read.
    await eventually(async () => ((await west.np.regions.status()).copies.some((row) => row.name.startsWith(name)) ? true : undefined));
    const read: MergedMessage<string>[] = [];
    const publishing = setInterval(() => void east.np.messages.publish({ channelId: name, payload: "more" }), 20);
    read.push((await first).value as MergedMessage<string>);
    clearInterval(publishing);
    expect(read[0]).toMatchObject({ region: "us-east" });
    expect(read[0]!.message.payload).toBe("more");
    for (const text of ["a", "b"]) await west.np.messages.publish({ channelId: name, payload: text });
    const here: string[] = [];
    for await (const { region, message } of merged) {
      if (region === "eu-west") here.push(message.payload);
      if (here.length === 2) break;
    }
    expect(here).toEqual(["a", "b"]);
    expect(merged.position).toMatchObject({ "eu-west": 2 });
  });

  test("is none of a stream that is one log", async () => {
    const name = freshName("one");
    await east.np.messages.publish({ channelId: name, payload: 1 });
    await expect(east.np.streams.merged({ streamId: name }).next()).rejects.toThrow(InvalidArgumentError);
    expect(() => east.np.streams.merged({ streamId: name, from: "end", fromTime: 0 })).toThrow(InvalidArgumentError);
  });
});

describe("a region that is gone for good", () => {
  test("keeps the names of its channels until they are taken out of the directory", async () => {
    const here = freshName("here");
    const gone = freshName("gone");
    const { directory } = await east.np.regions.list();
    const [home, other] = directory === "us-east" ? [east, west] : [west, east];
    await home.np.channels.create({ name: here });
    const { id } = await other.np.channels.create({ name: gone });
    await expect(other.np.regions.unname({ channelId: gone })).rejects.toThrow(NotHomeError);
    await expect(home.np.regions.unname({ channelId: here })).rejects.toThrow(NameHeldError);
    await expect(home.np.regions.unname({ channelId: freshName("nobody") })).rejects.toThrow(ChannelNotFoundError);
    await other.broker.stop({ keepData: true });
    const region = directory === "us-east" ? "eu-west" : "us-east";
    expect(await home.np.regions.unname({ channelId: gone })).toEqual({ name: gone, incarnation: id, region });
    await other.broker.start();
  });
});
