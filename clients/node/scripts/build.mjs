// Builds the package: the code once, as CommonJS and without comments, so that the package stays small; its declarations
// with them, since editors show those; and for `import` ES modules that hand on every name. So there is one copy of the
// code in a program, however it is loaded.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);
const tsc = require.resolve("typescript/bin/tsc");
const compile = (...flags) =>
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", ...flags], { cwd: root, stdio: "inherit" });

rmSync(`${root}dist`, { recursive: true, force: true });
compile("--removeComments", "--declaration", "false");
compile("--declaration", "--emitDeclarationOnly");
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
