// Builds the package twice, for `import` and for `require`: first the code without its comments, so that the package
// stays small, then the declarations with them, since editors show those.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const compile = (project, ...flags) =>
  execFileSync(process.execPath, [tsc, "-p", project, ...flags], { cwd: root, stdio: "inherit" });

rmSync(`${root}dist`, { recursive: true, force: true });
for (const [project, folder, type] of [
  ["tsconfig.esm.json", "esm", "module"],
  ["tsconfig.cjs.json", "cjs", "commonjs"],
]) {
  compile(project, "--removeComments", "--declaration", "false");
  compile(project, "--declaration", "--emitDeclarationOnly");
  writeFileSync(`${root}dist/${folder}/package.json`, `{ "type": "${type}" }\n`);
}
