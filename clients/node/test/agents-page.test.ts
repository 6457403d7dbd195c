import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";
import { fileOf, sectionsOf } from "./support/pages.js";
import { ProgramFolder, typeErrors } from "./support/programs.js";

describe("docs/agents.md", () => {
  const sections = sectionsOf(repositoryFile("docs/agents.md").toString());
  const live = withBroker();
  let folder: ProgramFolder;
  beforeAll(async () => {
    folder = await ProgramFolder.make();
  });
  afterAll(() => folder.remove());

  test("has code in every section, and it compiles", () => {
    expect(sections.length).toBeGreaterThan(8);
    expect(sections.filter(({ prints }) => prints.length === 0).map(({ title }) => title)).toEqual([]);
    expect(typeErrors(new Map(sections.map((section) => [fileOf(section), section.code])))).toEqual([]);
  });

  // A broker that is older than offers of commitments only moves the session.
  const offers = repositoryFile("docs/wire-protocol.md").includes("`OFFER_LAPSED`");
  test.each(sections.filter(({ code }) => offers || !code.includes('"COMMIT"')))("does what it says: $title", async (section) => {
    const file = await folder.write(fileOf(section), section.code);
    expect((await folder.run(file, live.url)).split("\n")).toEqual(section.prints);
  });

  test("resumes on a broker that has the sessions of an earlier run", async () => {
    const section = sections.find(({ title }) => title === "Resuming after a restart");
    if (section === undefined) throw new Error("there is no such section");
    const file = await folder.write("resuming-again.ts", section.code);
    for (let run = 0; run < 2; run += 1) expect((await folder.run(file, live.url)).split("\n")).toEqual(section.prints);
  });
});
