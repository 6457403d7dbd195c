// Kills of the broker and lost answers, as often as they are promised to do no harm: the tests, for longer.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { printSetting } from "./support.mjs";

const kills = Number(process.env.KILLS ?? 200);
const cuts = Number(process.env.CUTS ?? 1000);
printSetting("faults", { KILLS: kills, CUTS: cuts }, "synced");
const root = fileURLToPath(new URL("..", import.meta.url));
const names = "during publishes and a live tail|between store and acknowledgement|of several batches in flight";
execFileSync(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "test/faults.test.ts", "-t", names, "--testTimeout", "3600000", "--disable-console-intercept", "--silent=false"],
  { cwd: root, stdio: "inherit", env: { ...process.env, NO_COLOR: "1", NPAYLOAD_KILLS: String(kills), NPAYLOAD_CUTS: String(cuts), NPAYLOAD_FIGURES: "1" } },
);
