// Builds the package: one file of code and one for the test broker, since loading many files is what an import costs, and
// for their types the declarations with their comments, since editors show those. The code is CommonJS, which every
// version of Node can load in both ways, and there once, so that a program has one copy of it however it is loaded. It is
// made small, but each statement keeps its line and functions and classes keep their names: Node prints both when an error
// is not caught.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { minify } from "terser";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const require = createRequire(import.meta.url);
const ENTRIES = ["index", "testing/index"];

rmSync(dist, { recursive: true, force: true });
await bundle();
declare();

async function bundle() {
  const input = Object.fromEntries(ENTRIES.map((entry) => [entry, join(root, "src", `${entry}.ts`)]));
  const build = await rolldown({ input, platform: "node", tsconfig: join(root, "tsconfig.build.json") });
  const { output } = await build.generate({ format: "cjs", entryFileNames: "[name].js", chunkFileNames: "common.js" });
  await build.close();
  for (const { fileName, code } of output) write(join("cjs", fileName), `${await small(exportedTogether(code))}\n`);
  write("cjs/package.json", '{ "type": "commonjs" }\n');
  for (const entry of ENTRIES) {
    const names = Object.keys(require(join(dist, "cjs", `${entry}.js`)));
    const exported = `export const {\n${names.map((name) => `${name},\n`).join("")}} = cjs;\n`;
    const path = `${"../".repeat(entry.split("/").length)}cjs/${entry}.js`;
    // Node would first search CommonJS that is imported for its exports, which takes longer than to load it.
    write(`esm/${entry}.js`, `import { createRequire } from "node:module";\nconst cjs = createRequire(import.meta.url)("${path}");\n${exported}`);
    // Bundlers follow no require that they do not see.
    write(`esm/${entry}.bundler.js`, `import cjs from "${path}";\n${exported}`);
  }
}

function write(path, text) {
  const target = join(dist, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
}

/** What is exported under its own name, in one statement: each name stands there once. */
function exportedTogether(code) {
  return code.replace(/(?:^exports\.(\w+) = \1;\n)+/gm, (statements) => {
    const names = statements.split(";\n").flatMap((one) => one.split(" = ")[1] ?? []);
    return `Object.assign(exports, { ${names.join(", ")} });\n`;
  });
}

async function small(code) {
  // The names of classes are those of the variables that hold them.
  const reserved = [...code.matchAll(/(?:var|let|const) (\w+) = class|class (\w+)/g)].map(([, variable, declared]) => variable ?? declared);
  const { code: made } = await minify(code, {
    ecma: 2020,
    keep_classnames: true,
    keep_fnames: true,
    compress: { passes: 2, sequences: false, join_vars: false, toplevel: true },
    mangle: { toplevel: true, reserved },
    format: { semicolons: false, max_line_len: 200 },
  });
  return made;
}

/**
 * Writes the declarations once, for CommonJS; those of the ES modules hand them on. What no entry needs is left out, and what
 * remains is indented by one blank, since every byte counts.
 */
function declare() {
  const flags = ["-p", "tsconfig.build.json", "--declaration", "--emitDeclarationOnly"];
  execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), ...flags], { cwd: root, stdio: "inherit" });
  const needed = new Set();
  const need = (file) => {
    if (needed.has(file)) return;
    needed.add(file);
    for (const [, path] of readFileSync(file, "utf8").matchAll(/(?:from|import|import\()\s*"(\.[^"]+)"/g)) {
      const next = join(dirname(file), path.replace(/\.js$/, ".d.ts"));
      if (!existsSync(next)) throw new Error(`${file} refers to ${path}, of which there is no declaration`);
      need(next);
    }
  };
  for (const entry of ENTRIES) need(join(dist, "cjs", `${entry}.d.ts`));
  for (const path of readdirSync(join(dist, "cjs"), { recursive: true })) {
    const file = join(dist, "cjs", path);
    if (!path.endsWith(".d.ts")) continue;
    if (needed.has(file)) writeFileSync(file, readFileSync(file, "utf8").replace(/^(?: {4})+/gm, (blanks) => " ".repeat(blanks.length / 4)));
    else rmSync(file);
  }
  for (const entry of ENTRIES) write(`esm/${entry}.d.ts`, `export * from "${"../".repeat(entry.split("/").length)}cjs/${entry}.js";\n`);
}
