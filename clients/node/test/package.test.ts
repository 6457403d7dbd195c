import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";
import { PACKAGE, ProgramFolder } from "./support/programs.js";

interface Packed {
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

test("what is published is small, needs nothing and runs nothing when it is installed", () => {
  const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as Record<string, Record<string, string> | undefined>;
  for (const kind of ["dependencies", "optionalDependencies", "peerDependencies", "bundleDependencies"]) expect(manifest[kind]).toBeUndefined();
  const scripts = Object.keys(manifest.scripts ?? {});
  expect(scripts.filter((name) => /^(pre|post)?(install|prepare|prepublish)$/.test(name))).toEqual([]);
  const printed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: PACKAGE, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const [packed] = JSON.parse(printed) as [Packed];
  expect(packed.unpackedSize).toBeLessThanOrEqual(500_000);
  const kinds = packed.files.map(({ path }) => path.replace(/^dist\/.*?((\.d)?\.\w+)$/, "dist/*$1"));
  expect([...new Set(kinds)].sort()).toEqual(["LICENSE", "README.md", "dist/*.d.ts", "dist/*.js", "dist/*.json", "package.json"]);
});

test("an import reads two files of code and one of names, and there is one copy of the code however it is loaded", async () => {
  const folder = await ProgramFolder.make();
  try {
    const counted = `
      import { createRequire } from "node:module";
      import { NPayload } from "@npayload/node";
      const require = createRequire(import.meta.url);
      const isSame = require("@npayload/node").NPayload === NPayload;
      console.log(Object.keys(require.cache).filter((path) => path.includes("dist/cjs")).length, isSame);`;
    expect(await folder.run(await folder.write("count.mjs", counted), "")).toBe("2 true");
  } finally {
    await folder.remove();
  }
});

test("a bundler takes the code into a program, which then needs nothing beside it", async () => {
  const folder = await ProgramFolder.make();
  const alone = await mkdtemp(join(tmpdir(), "npayload-bundle-"));
  try {
    const input = await folder.write("program.mjs", 'import { NPayload, ConnectError } from "@npayload/node"; console.log(new NPayload().status.state, ConnectError.name);');
    const build = await rolldown({ input, platform: "node" });
    await build.write({ file: join(alone, "bundle.mjs"), format: "esm" });
    await build.close();
    expect(execFileSync(process.execPath, [join(alone, "bundle.mjs")], { cwd: alone, encoding: "utf8" }).trim()).toBe("idle ConnectError");
  } finally {
    await folder.remove();
    await rm(alone, { recursive: true });
  }
});

test("classes keep their names, and Node shows a line rather than all the code where an error is not caught", async () => {
  const built = (await import("../dist/esm/index.js" as string)) as Record<string, { readonly name: string }>;
  const classes = Object.entries(built).filter(([, value]) => typeof value === "function");
  expect(classes.length).toBeGreaterThan(100);
  for (const [name, value] of classes) expect(value.name).toBe(name);
  const lines = readFileSync(join(PACKAGE, "dist/cjs/index.js"), "utf8").split("\n");
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(500);
});
