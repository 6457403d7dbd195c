import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ForbiddenError, KeyRevokedError, NPayload, OrgExistsError, UnauthenticatedError } from "../src/index.js";
import { startBroker, type TestBroker } from "../src/testing/index.js";

describe("a broker that demands keys", () => {
  let broker: TestBroker;
  let folder: string;
  let admin: NPayload;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-keys-"));
    const file = join(folder, "admin.key");
    broker = await startBroker({ args: ["--require-keys", "--admin-key-file", file] });
    admin = new NPayload({ url: broker.url, apiKey: (await readFile(file, "utf8")).trim() });
  });
  afterAll(async () => {
    await admin.close();
    await broker.stop();
    await rm(folder, { recursive: true });
  });

  test("refuses clients without one, and those with another", async () => {
    for (const apiKey of [undefined, `npk_live_${"0".repeat(72)}`]) {
      await using np = new NPayload({ url: broker.url, apiKey });
      const failed = np.messages.publish({ channelId: "a", payload: 1 });
      await expect(failed).rejects.toThrow(UnauthenticatedError);
      await expect(np.broker.info()).rejects.toMatchObject({ code: "UNAUTHENTICATED", number: 700, retryable: false });
    }
  });

  test("lets keys do what their scopes allow, until they are revoked", async () => {
    const { key, secret } = await admin.keys.create({ name: "app", scopes: [{ operations: ["publish", "consume"], channels: ["app.*"] }] });
    expect(key).toMatchObject({ name: "app", org: "default", kind: "live" });
    await using np = new NPayload({ url: broker.url, apiKey: secret });
    expect((await np.messages.publish({ channelId: "app.log", payload: 1 })).offset).toBe(0);
    await expect(np.messages.publish({ channelId: "other", payload: 1 })).rejects.toThrow(ForbiddenError);
    await expect(np.keys.list()).rejects.toThrow(ForbiddenError);
    const tail = np.streams.tail({ streamId: "app.log" });
    expect((await tail.next()).value?.payload).toBe(1);
    const waiting = tail.next();
    await admin.keys.revoke({ key: key.id });
    await expect(waiting).rejects.toThrow(KeyRevokedError);
    await expect(np.messages.publish({ channelId: "app.log", payload: 2 })).rejects.toThrow(KeyRevokedError);
    expect((await admin.keys.list()).find(({ id }) => id === key.id)?.revokedAt).toBeTypeOf("number");
  });

  test("rotates keys", async () => {
    const { key, secret } = await admin.keys.create({ name: "old", scopes: [{ operations: ["publish"] }] });
    const rotated = await admin.keys.rotate({ key: key.id, overlapMs: 60_000 });
    expect(rotated.key).toMatchObject({ replaces: key.id, principal: key.principal });
    for (const apiKey of [secret, rotated.secret]) {
      await using np = new NPayload({ url: broker.url, apiKey });
      expect((await np.messages.publish({ channelId: "rotated", payload: 1 })).level).toBe("synced");
    }
  });

  test("keeps organisations apart, but for what they grant", async () => {
    expect(await admin.orgs.create({ name: "acme", limits: { maxChannels: 5 } })).toMatchObject({ name: "acme" });
    await expect(admin.orgs.create({ name: "acme" })).rejects.toThrow(OrgExistsError);
    expect((await admin.orgs.limit({ name: "acme", limits: { maxChannels: 6 } })).limits).toMatchObject({ maxChannels: 6 });
    expect((await admin.orgs.list()).map(({ name }) => name)).toContain("acme");
    const { secret } = await admin.keys.create({
      org: "acme",
      name: "guest",
      scopes: [{ operations: ["consume", "publish", "channelAdmin", "accessAdmin"] }],
    });
    await using guest = new NPayload({ url: broker.url, apiKey: secret });
    await admin.messages.publish({ channelId: "shared", payload: "hello" });
    await expect(guest.streams.consume({ streamId: "default/shared" })).rejects.toMatchObject({ code: "CHANNEL_NOT_FOUND" });
    const grant = await admin.grants.propose({ guest: "acme", channels: "shared", operation: "consume" });
    expect((await guest.grants.list()).map(({ state }) => state)).toEqual(["proposed"]);
    expect(await guest.grants.accept({ grant: grant.id })).toMatchObject({ state: "active" });
    const { messages } = await guest.streams.consume({ streamId: "default/shared" });
    expect(messages.map(({ payload }) => payload)).toEqual(["hello"]);
    expect(await admin.grants.revoke({ grant: grant.id })).toMatchObject({ state: "revoked" });
    await expect(guest.streams.consume({ streamId: "default/shared" })).rejects.toMatchObject({ code: "CHANNEL_NOT_FOUND" });
  });

  test("is not shown a key over a connection that others can read", async () => {
    await using np = new NPayload({ url: "npayload://192.0.2.1", apiKey: "npk_live_x" });
    await expect(np.broker.info()).rejects.toThrow(/unencrypted/);
  });
});
