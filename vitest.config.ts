import { defineConfig } from 'vitest/config';

/** Two projects: `unit` needs no device and answers in seconds, `e2e` runs models, browsers and the CLI (two files at a time: one waits for a compiler where the other computes). */
export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000 } },
      { extends: true, test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], testTimeout: 900_000, hookTimeout: 900_000, pool: 'forks', maxWorkers: 2 } },
    ],
  },
});
