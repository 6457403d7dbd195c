import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Names the broker's program to the tests, or says how to get one. */
export default function setup(): void {
  if (process.env.NPAYLOAD_BIN) return;
  const built = ["debug", "release"].map((profile) => fileURLToPath(new URL(`../../../../target/${profile}/npayload`, import.meta.url)));
  const found = built.find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error(`these tests need the broker, and there is none in ${built.join(" or ")}: run \`cargo build\` at the root of the repository, or name one with NPAYLOAD_BIN`);
  }
  process.env.NPAYLOAD_BIN = found;
}
