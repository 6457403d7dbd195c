import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../../../../", import.meta.url);

/** A file of the repository. */
export function repositoryFile(path: string): Buffer {
  return readFileSync(new URL(path, root));
}

/** Names of the golden files in a folder of the repository. */
export function goldenNames(folder: string): string[] {
  return readdirSync(fileURLToPath(new URL(folder, root))).filter((name) => name.endsWith(".bin"));
}
