import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const source = (path: string): string => fileURLToPath(new URL(`../src/${path}`, import.meta.url));

/** What an editor shows of a symbol: whether it is described, and by an example. */
function documented(symbol: ts.Symbol, checker: ts.TypeChecker): { text: boolean; example: boolean; internal: boolean } {
  const tags = symbol.getJsDocTags(checker).map(({ name }) => name);
  return { text: symbol.getDocumentationComment(checker).length > 0, example: tags.includes("example"), internal: tags.includes("internal") };
}

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2022.d.ts", "lib.esnext.disposable.d.ts"],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ["node"],
  strict: true,
  noEmit: true,
  skipLibCheck: true,
};

const ENTRIES = [source("index.ts"), source("testing/index.ts")];

test("every public symbol is described, and what can be called or thrown has an example", () => {
  const program = ts.createProgram(ENTRIES, OPTIONS);
  const checker = program.getTypeChecker();
  const missing: string[] = [];
  let seen = 0;
  for (const entry of ENTRIES) {
    const file = checker.getSymbolAtLocation(program.getSourceFile(entry) as ts.SourceFile);
    for (const exported of checker.getExportsOfModule(file as ts.Symbol)) {
      const symbol = (exported.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(exported) : exported;
      const docs = documented(symbol, checker);
      seen += 1;
      if (!docs.text) missing.push(`${symbol.name}: description`);
      if (!docs.example) missing.push(`${symbol.name}: example`);
      if ((symbol.flags & ts.SymbolFlags.Class) === 0) continue;
      for (const member of symbol.members?.values() ?? []) {
        const declaration = member.valueDeclaration;
        if (declaration === undefined || member.name.startsWith("__")) continue;
        if (!ts.isMethodDeclaration(declaration) && !ts.isPropertyDeclaration(declaration) && !ts.isGetAccessorDeclaration(declaration)) continue;
        if (ts.isPrivateIdentifier(declaration.name)) continue;
        const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
        if ((ts.getCombinedModifierFlags(declaration) & hidden) !== 0) continue;
        const memberDocs = documented(member, checker);
        if (memberDocs.internal || ts.isComputedPropertyName(declaration.name)) continue;
        seen += 1;
        if (!memberDocs.text) missing.push(`${symbol.name}.${member.name}: description`);
      }
    }
  }
  expect(missing).toEqual([]);
  expect(seen).toBeGreaterThan(200);
});

test("every example compiles, but for names that it leaves to the reader", () => {
  const names = new Map<string, string>();
  const examples: { readonly of: string; readonly code: string }[] = [];
  for (const file of ts.createProgram(ENTRIES, OPTIONS).getSourceFiles()) {
    if (file.fileName.includes("node_modules")) continue;
    const name = file.fileName.slice(file.fileName.indexOf("/src/"));
    for (const [, comment] of file.text.matchAll(/\/\*\*([^]*?)\*\//g)) {
      const [, code] = /@example\s*\n\s*\* ```ts\n([^]*?)\s*\* ```/.exec(comment ?? "") ?? [];
      if (code !== undefined) examples.push({ of: name, code: code.replace(/^\s*\* ?/gm, "").replace(/^import .*$/gm, "") });
    }
  }
  expect(examples.length).toBeGreaterThan(150);
  // The program is the examples, each in a function of its own, with all that the package exports in scope.
  for (const entry of ENTRIES) {
    const program = ts.createProgram([entry], OPTIONS);
    const file = program.getTypeChecker().getSymbolAtLocation(program.getSourceFile(entry) as ts.SourceFile);
    for (const { name } of program.getTypeChecker().getExportsOfModule(file as ts.Symbol)) names.set(name, entry);
  }
  const path = source("examples-of-the-documentation.ts");
  const imports = ENTRIES.map((entry, at) => {
    const own = [...names].filter(([, from]) => from === entry).map(([name]) => name);
    return `import { ${own.join(", ")} } from "${at === 0 ? "./index.js" : "./testing/index.js"}";`;
  });
  const bodies = examples.map(({ code }, at) => `export async function example${at}() {\n${code}\n}`);
  const text = [...imports, "declare const np: NPayload;", ...bodies].join("\n");
  const host = ts.createCompilerHost(OPTIONS);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) => (name === path ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest));
  host.fileExists = (name) => name === path || fileExists(name);
  host.readFile = (name) => (name === path ? text : readFile(name));
  const program = ts.createProgram([path], OPTIONS, host);
  // Also of parameters whose type would come from such a name.
  const unknownName = [2304, 2503, 2552, 18004, 2749, 7006, 7031];
  const wrong = ts.getPreEmitDiagnostics(program, program.getSourceFile(path)).filter(({ code }) => !unknownName.includes(code));
  const lines = text.split("\n");
  const told = wrong.map(({ messageText, start = 0 }) => {
    const line = text.slice(0, start).split("\n").length - 1;
    return `${ts.flattenDiagnosticMessageText(messageText, " ")}: ${lines[line]}`;
  });
  expect(told).toEqual([]);
});
