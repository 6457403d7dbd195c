// Builds the package: the code once, as CommonJS and without comments, so that the package stays small; its declarations
// with them, since editors show those; and for `import` ES modules that hand on every name. So there is one copy of the
// code in a program, however it is loaded.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);
const tsc = require.resolve("typescript/bin/tsc");
const compile = (...flags) =>
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", ...flags], { cwd: root, stdio: "inherit" });

rmSync(`${root}dist`, { recursive: true, force: true });
compile("--removeComments", "--declaration", "false");
compile("--declaration", "--emitDeclarationOnly");
removeUnusedDeclarations();
removeAnnouncements();
narrowIndents();
writeFileSync(`${root}dist/cjs/package.json`, '{ "type": "commonjs" }\n');

for (const [entry, up] of [
  ["index", ".."],
  ["testing/index", "../.."],
]) {
  const names = Object.keys(require(`${root}dist/cjs/${entry}.js`));
  const folder = `${root}dist/esm/${entry.replace(/index$/, "")}`;
  mkdirSync(folder, { recursive: true });
  const code = `import cjs from "${up}/cjs/${entry}.js";\nexport const {\n${names.map((name) => `  ${name},\n`).join("")}} = cjs;\n`;
  writeFileSync(`${folder}index.js`, code);
  writeFileSync(`${folder}index.d.ts`, `export * from "${up}/cjs/${entry}.js";\n`);
}

/** Removes the declarations that none of the entries leads to: nobody can name what is in them. */
function removeUnusedDeclarations() {
  const used = new Set();
  const visit = (file) => {
    if (used.has(file)) return;
    used.add(file);
    const imports = readFileSync(file, "utf8").matchAll(/(?:from |import\()"(\.[^"]+)\.js"/g);
    for (const [, path] of imports) visit(resolve(dirname(file), `${path}.d.ts`));
  };
  for (const entry of ["index", "testing/index"]) visit(join(root, "dist/cjs", `${entry}.d.ts`));
  for (const file of filesBelow("dist/cjs")) if (file.endsWith(".d.ts") && !used.has(file)) rmSync(file);
}

/** Removes the lines that set every export to nothing before it gets its value. */
function removeAnnouncements() {
  for (const file of filesBelow("dist/cjs")) {
    if (file.endsWith(".js")) writeFileSync(file, readFileSync(file, "utf8").replace(/^(?:exports\.\w+ = )+void 0;\n/gm, ""));
  }
}

/** Indents by one blank for each level in place of four, which is a tenth of the package. */
function narrowIndents() {
  for (const file of filesBelow("dist/cjs")) {
    const wide = readFileSync(file, "utf8");
    const narrow = wide.replace(/^(?: {4})+/gm, (blanks) => " ".repeat(blanks.length / 4));
    if (file.endsWith(".js") && tokensOf(narrow).join("\n") !== tokensOf(wide).join("\n")) throw new Error(`${file} has a text over several lines, whose blanks count`);
    writeFileSync(file, narrow);
  }
}

function tokensOf(code) {
  const tokens = [];
  const visit = (node) => (node.getChildCount() === 0 ? tokens.push(node.getText()) : node.getChildren().forEach(visit));
  visit(ts.createSourceFile("a.js", code, ts.ScriptTarget.ES2022, true));
  return tokens;
}

function filesBelow(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}
