import { describe, expect, test } from "vitest";
import { ChannelExistsError, ChannelNotFoundError, ChannelRecreatedError, InvalidArgumentError, InvalidConfigError } from "../src/index.js";
import { freshName, withBroker } from "./support/client.js";

const live = withBroker();

describe("channels", () => {
  test("one that exists with the same configuration is returned", async () => {
    const request = { name: freshName(), retentionDays: 365, compression: ["zstd", "none"] as const };
    const made = await live.np.channels.create(request);
    expect(made).toMatchObject({ name: request.name, logEnd: 0, config: { retentionDays: 365, durability: "synced" } });
    expect(made.id).toMatch(/^[0-9a-f]{32}$/);
    expect((await live.np.streams.create(request)).id).toBe(made.id);
    expect((await live.np.channels.create({ name: request.name })).id).toBe(made.id);
  });

  test("one that exists with another configuration is an error that names both", async () => {
    const name = freshName();
    await live.np.channels.create({ name, retentionDays: 3 });
    const failed = live.np.channels.create({ name, retentionDays: 4 });
    await expect(failed).rejects.toThrow(ChannelExistsError);
    await expect(failed).rejects.toMatchObject({ details: { field: "retentionDays", wanted: 4, found: 3 } });
  });

  test("are updated, listed and deleted", async () => {
    const name = freshName("listed");
    const { id } = await live.np.channels.create({ name });
    const updated = await live.np.channels.update({ channelId: id, retentionBytes: 1 << 30 });
    expect(updated.config.retentionBytes).toBe(1 << 30);
    expect(await live.np.channels.delete({ channelId: id })).toEqual({ name, id });
    await expect(live.np.channels.get({ channelId: name })).rejects.toThrow(ChannelNotFoundError);
  });

  test("come in pages: the first when awaited, all with for await", async () => {
    const prefix = freshName("paged");
    const names = ["a", "b", "c", "d", "e"].map((end) => `${prefix}.${end}`);
    for (const name of names) await live.np.channels.create({ name });
    const page = await live.np.channels.list({ prefix, limit: 2 });
    expect([...page].map(({ name }) => name)).toEqual(names.slice(0, 2));
    expect(page.hasMore).toBe(true);
    const all: string[] = [];
    for await (const { name } of live.np.channels.list({ prefix, limit: 2 })) all.push(name);
    expect(all).toEqual(names);
  });

  test("are found by an id that the client has not seen before, and never made from one", async () => {
    const { np, url } = live;
    const { NPayload } = await import("../src/index.js");
    const made = await np.channels.create({ name: freshName() });
    await using other = new NPayload({ url });
    expect((await other.messages.publish({ channelId: made.id, payload: 1 })).channel).toBe(made.name);
    const absent = "0123456789abcdef0123456789abcdef";
    await expect(other.messages.publish({ channelId: absent, payload: 1 })).rejects.toThrow(ChannelNotFoundError);
    await expect(other.streams.consume({ streamId: absent })).rejects.toThrow(ChannelNotFoundError);
  });

  test("given by id are noticed when they were made again", async () => {
    const name = freshName();
    const { id } = await live.np.channels.create({ name });
    await live.np.channels.delete({ channelId: name });
    await live.np.channels.create({ name });
    await expect(live.np.messages.publish({ channelId: id, payload: 1 })).rejects.toThrow(ChannelRecreatedError);
    await expect(live.np.streams.consume({ streamId: id })).rejects.toThrow(ChannelRecreatedError);
    expect((await live.np.messages.publish({ channelId: name, payload: 1 })).offset).toBe(0);
  });

  test("a publisher goes on after its channel was made again, once it was told", async () => {
    const channelId = freshName();
    await live.np.messages.publish({ channelId, payload: 1 });
    await live.np.channels.delete({ channelId });
    await live.np.channels.create({ name: channelId });
    await expect(live.np.messages.publish({ channelId, payload: 2 })).rejects.toThrow(ChannelRecreatedError);
    expect(await live.np.messages.publish({ channelId, payload: 3 })).toMatchObject({ offset: 0, duplicate: false });
  });

  test("names and values that break a rule are refused", async () => {
    await expect(live.np.messages.publish({ channelId: "a..b", payload: 1 })).rejects.toThrow(InvalidArgumentError);
    await expect(live.np.channels.create({ name: freshName(), segmentBytes: 1 })).rejects.toThrow(InvalidConfigError);
    await expect(live.np.streams.consume({ streamId: "" })).rejects.toThrow(InvalidArgumentError);
  });

  test("the broker tells of itself", async () => {
    expect(await live.np.broker.info()).toMatchObject({ health: { ok: true } });
    expect(await live.np.broker.scrub()).toHaveProperty("passes");
    expect(await live.np.request("broker.info")).toHaveProperty("directoryId");
    await expect(live.np.request("no.such.request")).rejects.toThrow(/the broker knows no request/);
  });
});
