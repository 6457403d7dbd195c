import { describe, expect, test } from "vitest";
import {
  AgentNotFoundError,
  CopiedPage,
  CopyNotOfferedError,
  InvalidArgumentError,
  NotARegionError,
  NPayload,
  type SessionRecord,
  SessionNotFoundError,
  UnknownRegionError,
} from "../src/index.js";
import { freshName, withBroker } from "./support/client.js";
import { eventually, withRegions } from "./support/regions.js";

const alone = withBroker();
const { east, west } = withRegions();
const region = "us-east";

/** A session in the first region, of two agents that are registered there. */
async function survey(writer: string, editor: string): Promise<string> {
  for (const name of [writer, editor]) await east.np.asp.registry.register({ name, capabilities: [`${writer}.work`] });
  const participants = [{ agentId: editor, role: "coordinator" }, { agentId: writer, role: "specialist" }] as const;
  return (await east.np.asp.sessions.create({ topic: "a survey", participants })).id;
}

describe("what agents said in another region", () => {
  test("is nothing where nothing was said, and where there are no regions", async () => {
    await expect(east.np.asp.registry.get({ agentId: "writer", region: "eu-west" }, { timeoutMs: 5000 })).rejects.toThrow(CopyNotOfferedError);
    await expect(east.np.asp.registry.get({ agentId: "writer", region: "ap-south" })).rejects.toThrow(UnknownRegionError);
    await expect(alone.np.asp.registry.get({ agentId: "writer", region })).rejects.toThrow(NotARegionError);
    const both = { region, anyRegion: true } as unknown as { region: string };
    await expect(east.np.asp.registry.get({ agentId: "writer", ...both })).rejects.toThrow(InvalidArgumentError);
    expect(() => east.np.asp.registry.search(both)).toThrow(InvalidArgumentError);
    await east.np.asp.registry.register({ name: "first" });
    const { parts, asOf } = await east.np.asp.registry.search({ anyRegion: true });
    expect(parts.map((part) => part.region)).toEqual(["eu-west", "us-east"]);
    expect(parts[0]?.error).toMatchObject({ code: "COPY_NOT_OFFERED", number: 944, retryable: false });
    expect(parts[0]?.answer).toBeUndefined();
    expect(Object.keys(asOf)).toEqual([region]);
  });

  test("is told as that region tells it, with up to when, and also while it is away", async () => {
    const [writer, editor] = [freshName("writer"), freshName("editor")];
    await survey(writer, editor);
    const there = await east.np.asp.registry.get({ agentId: writer });
    const told = await eventually(() => west.np.asp.registry.get({ agentId: writer, region }).catch((error: unknown) => {
      if (!(error instanceof AgentNotFoundError)) throw error;
      return undefined;
    }));
    expect(told.answer).toEqual(there);
    expect(told.region).toBe(region);
    expect(Object.keys(told.asOf)).toEqual([region]);
    expect(told.asOf[region]?.offset).toBeGreaterThan(0);
    expect(told.asOf[region]?.time).toBeGreaterThanOrEqual(there.createdAt);
    // Without a region it is asked of this one alone.
    expect((await west.np.asp.registry.search({ capabilities: [`${writer}.work`] })).items).toEqual([]);
    const search = { capabilities: [`${writer}.work`], limit: 1, region } as const;
    await eventually(async () => ((await west.np.asp.registry.search(search)).hasMore ? true : undefined));
    const page = await west.np.asp.registry.search(search);
    expect(page).toBeInstanceOf(CopiedPage);
    expect(page.region).toBe(region);
    expect(page.items).toHaveLength(1);
    const names: string[] = [];
    for await (const { name } of west.np.asp.registry.search(search)) names.push(name);
    expect(names.sort()).toEqual([editor, writer].sort());
    await east.broker.stop({ keepData: true });
    const still = await west.np.asp.registry.search({ ...search, limit: 10 });
    expect(still.items).toHaveLength(2);
    expect(still.asOf).toEqual(page.asOf);
    await east.broker.start();
  });

  test("is told of every region at once, each in pages of its own", async () => {
    const name = freshName("worker");
    const capability = `${name}.work`;
    for (const np of [east.np, west.np]) {
      for (const n of [1, 2]) await np.asp.registry.register({ name: `${name}-${n}`, capabilities: [capability] });
    }
    const { parts, asOf } = await eventually(async () => {
      const told = await west.np.asp.registry.search({ capabilities: [capability], anyRegion: true, limit: 1 });
      const [, there] = told.parts;
      return there?.answer !== undefined && (await there.answer).hasMore ? told : undefined;
    });
    expect(Object.keys(asOf)).toEqual(["eu-west", "us-east"]);
    for (const part of parts) {
      const names: string[] = [];
      for await (const agent of part.answer ?? []) names.push(agent.name);
      expect(names.sort()).toEqual([`${name}-1`, `${name}-2`]);
      expect((await part.answer)?.asOf).toEqual(asOf);
    }
    const got = await west.np.asp.registry.get({ agentId: `${name}-1`, anyRegion: true });
    expect(got.parts.map((part) => part.answer?.name)).toEqual([`${name}-1`, `${name}-1`]);
  });

  test("is trusted by the evidence of that region", async () => {
    const [writer, editor] = [freshName("writer"), freshName("editor")];
    const sessionId = await survey(writer, editor);
    const promise = { sessionId, agentId: writer, counterparty: editor, description: "Ten answers", deadline: new Date(Date.now() + 3_600_000) };
    const { id: commitmentId } = await east.np.asp.commitments.create(promise);
    await east.np.asp.commitments.deliver({ commitmentId });
    await east.np.asp.commitments.confirm({ commitmentId });
    const { answer, asOf } = await eventually(async () => {
      try {
        const told = await west.np.asp.trust.getScore({ agentId: writer, region });
        return told.answer.evidenceCount > 0 ? told : undefined;
      } catch (error) {
        // The evidence is on its way: the region may have recorded none before it.
        if (!(error instanceof AgentNotFoundError || error instanceof CopyNotOfferedError)) throw error;
        return undefined;
      }
    });
    const { asOf: _, ...there } = await east.np.asp.trust.getScore({ agentId: writer });
    expect(answer).toMatchObject(there);
    const explained = await west.np.asp.trust.explain({ agentId: writer, region });
    expect(explained.answer.trust).toMatchObject(there);
    expect(explained.asOf[region]?.offset).toBeGreaterThanOrEqual(asOf[region]?.offset as number);
    const evidence = await west.np.asp.trust.evidence({ agentId: writer, region });
    expect(evidence.items).toEqual((await east.np.asp.trust.evidence({ agentId: writer })).items);
    expect(evidence.items).toHaveLength(1);
    const { parts } = await west.np.asp.trust.evidence({ agentId: writer, anyRegion: true });
    const of = parts.find((part) => part.region === region)?.answer;
    expect((await of)?.items).toEqual(evidence.items);
    const any = await west.np.asp.trust.getScore({ agentId: writer, anyRegion: true });
    expect(any.parts.find((part) => part.region === region)?.answer).toMatchObject(there);
    // The scores of a search rest on it.
    const { answer: agent, evidenceAsOf } = await west.np.asp.registry.get({ agentId: writer, region });
    expect(agent.trustScore).toBe(there.score);
    expect(evidenceAsOf?.offset).toBeGreaterThanOrEqual(asOf[region]?.offset as number);
  });

  test("in a session is read while the region where it lives is away", async () => {
    const [writer, editor] = [freshName("writer"), freshName("editor")];
    const sessionId = await survey(writer, editor);
    const said = await east.np.asp.messages.send({ sessionId, from: editor, type: "note", payload: { text: "one" } });
    const there = await east.np.asp.sessions.get({ sessionId });
    const records = ({ records: rows }: { records: readonly SessionRecord[] }) => rows.map(({ record }) => record);
    const told = await eventually(async () => {
      try {
        const history = await west.np.asp.messages.history({ sessionId, region });
        return history.answer.next > said.sequence ? history : undefined;
      } catch (error) {
        if (!(error instanceof SessionNotFoundError)) throw error;
        return undefined;
      }
    });
    expect(records(told.answer)).toEqual(records(await east.np.asp.messages.history({ sessionId })));
    expect((await west.np.asp.sessions.get({ sessionId, region })).answer).toEqual(there);
    await east.broker.stop({ keepData: true });
    // Its id says in which region it lives.
    const any = await west.np.asp.sessions.get({ sessionId, anyRegion: true });
    expect(any).toMatchObject({ region, answer: there });
    const page = await west.np.asp.messages.history({ sessionId, anyRegion: true, limit: 1 });
    expect(page.answer).toMatchObject({ next: 1 });
    expect(page.asOf[region]?.offset).toBeGreaterThanOrEqual(told.asOf[region]?.offset as number);
    await east.broker.start();
    const unknown = "ses_01998a2b-0c3d-7e4f-8001-020304050607";
    await expect(west.np.asp.sessions.get({ sessionId: unknown, region })).rejects.toThrow(SessionNotFoundError);
  });

  test("has its places as bigints where that was asked for", async () => {
    await using np = new NPayload({ url: east.broker.url, offsets: "bigint" });
    const { asOf } = await np.asp.registry.search({ region });
    expect(asOf[region]?.offset).toBeTypeOf("bigint");
  });
});
