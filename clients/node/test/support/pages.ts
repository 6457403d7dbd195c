/** A section of a page of the documentation. */
export interface Section {
  readonly title: string;
  readonly code: string;
  readonly prints: readonly string[];
}

/** The blocks of each section as one program, with the page's first block around it, and what they say that it prints. */
export function sectionsOf(page: string): Section[] {
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

/** Name of a section's program. */
export function fileOf({ title }: Section): string {
  return `${title.toLowerCase().replace(/[^a-z]+/g, "-")}.ts`;
}
