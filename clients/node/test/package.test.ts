import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PACKAGE } from "./support/programs.js";

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

test("an import reads two files of code, in either format", () => {
  const counted = `
    require("./dist/cjs/index.js");
    console.log(Object.keys(require.cache).filter((path) => path.includes("dist")).length);`;
  expect(execFileSync(process.execPath, ["-e", counted], { cwd: PACKAGE, encoding: "utf8" }).trim()).toBe("2");
  const code = readFileSync(join(PACKAGE, "dist/esm/index.js"), "utf8");
  const own = [...code.matchAll(/from\s*"([^"]+)"/g)].map(([, path]) => path).filter((path) => path?.startsWith("."));
  expect(own).toEqual(["./common.js"]);
});

test("classes keep their names, and Node shows a line rather than all the code where an error is not caught", async () => {
  const built = (await import("../dist/esm/index.js" as string)) as Record<string, { readonly name: string }>;
  const classes = Object.entries(built).filter(([, value]) => typeof value === "function");
  expect(classes.length).toBeGreaterThan(100);
  for (const [name, value] of classes) expect(value.name).toBe(name);
  const lines = readFileSync(join(PACKAGE, "dist/esm/index.js"), "utf8").split("\n").filter((line) => !line.startsWith("export{"));
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(500);
});
