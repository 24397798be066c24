import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";

const MODULE = fileURLToPath(new URL("../src/sandbox/inherited-descriptors.ts", import.meta.url));
/** Node itself marks the first ones it finds, up to a gap. */
const LEFT_OPEN = 20;

/** What a child of a process sees that was started with a descriptor left open. */
function seenByGrandchild(prelude: string): string {
  const program = `${prelude}
    const { spawnSync } = require("node:child_process");
    const look = "test -e /proc/self/fd/${LEFT_OPEN} && echo open || echo closed";
    process.stdout.write(spawnSync("sh", ["-c", look]).stdout);`;
  const folder = openSync("/", "r");
  try {
    const { stdout } = spawnSync(process.execPath, ["--input-type=commonjs", "-e", program], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit", ...new Array(LEFT_OPEN - 3).fill("ignore"), folder],
    });
    return stdout.trim();
  } finally {
    closeSync(folder);
  }
}

part("proc")("descriptors that were left open", () => {
  test("reach children of a process that does nothing about them", () => {
    expect(seenByGrandchild("")).toBe("open");
  });

  test("are closed before anything is started, and the process works on", () => {
    const close = `require(${JSON.stringify(MODULE)}).closeInheritedDescriptors();`;
    expect(seenByGrandchild(close)).toBe("closed");
  });
});
