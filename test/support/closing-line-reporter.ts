import type { Reporter, TestModule } from "vitest/node";

/** Says what was skipped, and ends with one plain line, `N passed, N failed, N skipped`, for who reads it by program. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const skipped = new Set<string>();
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      // A file that cannot even be loaded has no tests that could fail.
      if (module.state() === "failed" && !tests.some((test) => test.result().state === "failed"))
        count.failed++;
      for (const suite of module.children.allSuites()) {
        if (suite.options.mode === "skip") skipped.add(suite.name);
      }
      for (const test of tests) {
        const { state } = test.result();
        count[state === "pending" ? "skipped" : state]++;
      }
    }
    if (skipped.size > 0) process.stdout.write(`\nNot tested here:\n  ${[...skipped].join("\n  ")}\n`);
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
  }
}
