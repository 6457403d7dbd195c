import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/find-broker.ts"],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Each file has a broker of its own; more at a time only slow each other down.
    maxWorkers: 3,
  },
});
