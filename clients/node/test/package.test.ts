import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { PACKAGE } from "./support/programs.js";

test("the package is small, depends on nothing, and runs nothing when it is installed", () => {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: PACKAGE, encoding: "utf8" })) as [{ unpackedSize: number; files: { path: string }[] }];
  expect(packed.unpackedSize).toBeLessThanOrEqual(500_000);
  expect(packed.files.map(({ path }) => path)).toEqual(expect.arrayContaining(["dist/cjs/index.js", "dist/cjs/index.d.ts", "dist/esm/index.js", "LICENSE", "README.md"]));
  const { dependencies, optionalDependencies, peerDependencies, scripts } = JSON.parse(readFileSync(`${PACKAGE}/package.json`, "utf8")) as Record<string, Record<string, string> | undefined>;
  expect({ dependencies, optionalDependencies, peerDependencies }).toEqual({});
  expect(Object.keys(scripts ?? {}).filter((name) => /install|prepare/.test(name))).toEqual([]);
});
