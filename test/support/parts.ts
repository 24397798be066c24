import { existsSync } from "node:fs";
import { describe, test } from "vitest";
import { findProgram } from "../../bench/src/programs.ts";
import { findOnPath } from "../../control-plane/src/sandbox/find-on-path.ts";

/** Something of the machine that a test needs and that not every machine has. */
export type Part = "bubblewrap" | "python3" | "go" | "npm" | "chromium" | "openssl" | "proc" | BenchPart;
/** What benches measure the edge with and against. */
type BenchPart = "wrk" | "nginx" | "haproxy" | "caddy" | "k6";

/** Built from its source by a newer Go than Debian has: where that is all there is, nothing can be done about it. */
const HARD_TO_GET: ReadonlySet<Part> = new Set(["k6"]);

const PROGRAMS: Readonly<Record<Exclude<Part, "proc" | BenchPart>, string>> = {
  bubblewrap: "bwrap",
  python3: "python3",
  go: "go",
  npm: "npm",
  chromium: "chromium",
  openssl: "openssl",
};

/**
 * `describe` for tests that need these parts: skipped with a line that names what is missing, or failing where
 * REQUIRE_ALL_PARTS=1 says that this machine has everything that it can have.
 */
export function part(...needed: readonly Part[]): (title: string, define: () => void) => void {
  const missing = needed.filter((each) => !isHere(each));
  return (title, define) => {
    if (missing.length === 0) {
      describe(title, define);
    } else if (process.env["REQUIRE_ALL_PARTS"] === "1" && !missing.every((each) => HARD_TO_GET.has(each))) {
      test(`${title}: needs ${missing.join(", ")}`, () => {
        throw new Error(`this machine has no ${missing.join(", ")}`);
      });
    } else {
      describe.skip(`${title}: this machine has no ${missing.join(", ")}`, define);
    }
  };
}

function isHere(each: Part): boolean {
  switch (each) {
    case "proc":
      return existsSync("/proc/self/stat");
    case "wrk":
    case "nginx":
    case "haproxy":
    case "caddy":
    case "k6":
      return findProgram(each) !== undefined;
    default:
      return findOnPath(PROGRAMS[each]) !== undefined;
  }
}
