// Builds the package: for each module format one file of code and one for the test broker, since loading many files is
// what an import costs, and for their types the declarations with their comments, since editors show those. The code
// is minified, with its names of functions and classes, so that the package stays small.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

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
    await build.write({
      dir: join(dist, format),
      format,
      entryFileNames: "[name].js",
      chunkFileNames: "common.js",
      minify: { compress: { keepNames: { function: true, class: true } }, mangle: { toplevel: true, keepNames: true }, codegen: true },
    });
    await build.close();
  }
  writeFileSync(join(dist, "cjs", "package.json"), '{ "type": "commonjs" }\n');
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
