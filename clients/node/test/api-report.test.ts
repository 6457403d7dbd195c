import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { PACKAGE } from "./support/programs.js";

const ENTRIES = { "@npayload/node": "dist/cjs/index.d.ts", "@npayload/node/testing": "dist/cjs/testing/index.d.ts" };
const REPORT = join(PACKAGE, "api-report.txt");

/** All that the package declares, as its users' compilers see it, without comments and without what is private. */
function report(): string {
  const files = Object.values(ENTRIES).map((path) => join(PACKAGE, path));
  const program = ts.createProgram(files, { target: ts.ScriptTarget.ES2022, skipLibCheck: true });
  const checker = program.getTypeChecker();
  const printer = ts.createPrinter({ removeComments: true });
  const sections = Object.entries(ENTRIES).map(([name, path]) => {
    const file = program.getSourceFile(join(PACKAGE, path)) as ts.SourceFile;
    const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(file) as ts.Symbol);
    const texts = exported.map((symbol) => {
      const own = (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
      const declarations = (own.declarations ?? []).map((declaration) => {
        // A variable is declared by its statement.
        const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
        return printer.printNode(ts.EmitHint.Unspecified, withoutPrivate(node), node.getSourceFile());
      });
      return { name: symbol.name, text: declarations.join("\n") };
    });
    texts.sort((a, b) => (a.name < b.name ? -1 : 1));
    return `// ${name}\n\n${texts.map(({ text }) => text).join("\n\n")}\n`;
  });
  return sections.join("\n");
}

function withoutPrivate(node: ts.Node): ts.Node {
  if (!ts.isClassDeclaration(node)) return node;
  const isHidden = (member: ts.ClassElement): boolean =>
    (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0 || (member.name !== undefined && ts.isPrivateIdentifier(member.name));
  const { modifiers, name, typeParameters, heritageClauses, members } = node;
  return ts.factory.updateClassDeclaration(node, modifiers, name, typeParameters, heritageClauses, members.filter((member) => !isHidden(member)));
}

/** Where this fails the interface has changed: see whether users have to be told, then `npm run generate:api`. */
test("what the package exports is what api-report.txt says", () => {
  const text = report();
  if (process.env.NPAYLOAD_WRITE_API_REPORT) writeFileSync(REPORT, text);
  expect(text.split("\n")).toEqual(readFileSync(REPORT, "utf8").split("\n"));
  expect(text).toContain("declare class NPayload");
});
