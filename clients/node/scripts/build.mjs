// Builds the package: for each module format one file of code and one for the test broker, since loading many files is
// what an import costs, and for their types the declarations with their comments, since editors show those. The code
// is made small, but each statement keeps its line and functions and classes keep their names: Node prints both when an
// error is not caught.
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
  for (const format of ["esm", "cjs"]) {
    const build = await rolldown({ input, platform: "node", tsconfig: join(root, "tsconfig.build.json") });
    const { output } = await build.generate({ format, entryFileNames: "[name].js", chunkFileNames: "common.js" });
    await build.close();
    for (const { fileName, code } of output) {
      const target = join(dist, format, fileName);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, `${await small(code)}\n`);
    }
  }
  writeFileSync(join(dist, "cjs", "package.json"), '{ "type": "commonjs" }\n');
}

async function small(code) {
  const { code: made } = await minify(code, {
    ecma: 2020,
    keep_classnames: true,
    keep_fnames: true,
    compress: { passes: 2, sequences: false, join_vars: false },
    // The names of classes are those of the variables that hold them.
    mangle: { toplevel: false },
    format: { semicolons: false, max_line_len: 200 },
  });
  return made;
}

/** Writes the declarations once, for CommonJS; those of the ES modules hand them on. What no entry needs is left out. */
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
    if (path.endsWith(".d.ts") && !needed.has(file)) rmSync(file);
  }
  for (const entry of ENTRIES) {
    const target = join(dist, "esm", `${entry}.d.ts`);
    mkdirSync(dirname(target), { recursive: true });
    const up = "../".repeat(entry.split("/").length);
    writeFileSync(target, `export * from "${up}cjs/${entry}.js";\n`);
  }
}
