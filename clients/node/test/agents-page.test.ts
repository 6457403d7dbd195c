import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";
import { ProgramFolder, typeErrors } from "./support/programs.js";

interface Section {
  readonly title: string;
  readonly code: string;
  readonly prints: readonly string[];
}

/** The blocks of each section as one program, with the page's first block around it, and what they say that it prints. */
function sectionsOf(page: string): Section[] {
  const [intro = "", ...parts] = page.split(/^## /m);
  const blocks = (text: string): string[] => [...text.matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code ?? "");
  const isImport = /^import .*;$/gm;
  return parts.map((part) => {
    const code = [...blocks(intro), ...blocks(part)].join("\n");
    const imports = code.match(isImport) ?? [];
    const prints = [...code.matchAll(/^\s*\/\/ → (.*)$/gm)].map(([, line]) => line ?? "");
    return { title: part.slice(0, part.indexOf("\n")), prints, code: [...imports, code.replace(isImport, ""), "await np.close();", ""].join("\n") };
  });
}

describe("docs/agents.md", () => {
  const sections = sectionsOf(repositoryFile("docs/agents.md").toString());
  const live = withBroker();
  let folder: ProgramFolder;
  beforeAll(async () => {
    folder = await ProgramFolder.make();
  });
  afterAll(() => folder.remove());

  const fileOf = ({ title }: Section): string => `${title.toLowerCase().replace(/[^a-z]+/g, "-")}.ts`;

  test("has code in every section, and it compiles", () => {
    expect(sections.length).toBeGreaterThan(8);
    expect(sections.filter(({ prints }) => prints.length === 0).map(({ title }) => title)).toEqual([]);
    expect(typeErrors(new Map(sections.map((section) => [fileOf(section), section.code])))).toEqual([]);
  });

  test.each(sections)("does what it says: $title", async (section) => {
    const file = await folder.write(fileOf(section), section.code);
    expect((await folder.run(file, live.url)).split("\n")).toEqual(section.prints);
  });
});
