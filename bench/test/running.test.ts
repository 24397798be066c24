import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";
import { layBed } from "../src/bed.ts";
import { PLANS } from "../src/comparators/plans.ts";
import { runOpenLoop } from "../src/load/open-loop.ts";
import { runWrk } from "../src/load/wrk.ts";
import { checkItself } from "../src/self-check.ts";
import { EVERYWHERE } from "../src/server-process.ts";
import { CASES, HOST } from "../src/workload.ts";

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const MANY_ROUTES = "ours-100k-routes";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function bench(args: readonly string[], environment: NodeJS.ProcessEnv = process.env): Promise<Ended> {
  return run(process.execPath, [MAIN, ...args], { env: environment }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: Ended) => ({ code, stdout, stderr }),
  );
}

test("where a program is missing, the bench says how to get it and exits 2", async () => {
  const nothing = { PATH: "/nonexistent", HOME: "/nonexistent" };
  const { code, stderr } = await bench(["k6-invoke"], nothing);
  expect(stderr).toBe("k6 is not on this machine. Get it with: go install go.k6.io/k6@latest\n");
  expect(code).toBe(2);
});

test("a bench that there is not is refused with those that there are", async () => {
  const { code, stderr } = await bench(["sideways"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/There is no bench sideways[\s\S]*side-by-side[\s\S]*--rounds/);
});

part("wrk", "nginx")("side-by-side", () => {
  test("measures our edge beside the upstream itself, with every answer checked", async () => {
    const args = [
      "--only",
      "ours,direct",
      "--cases",
      "get-100,post-10k-signed-in",
      "--rounds",
      "1",
      "--seconds",
      "1",
    ];
    const { code, stdout, stderr } = await bench(["side-by-side", "--json", ...args]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const { figures, failures } = JSON.parse(stdout);
    expect(failures).toEqual([]);
    expect(figures.map(({ table, name }: { table: string; name: string }) => `${table} ${name}`)).toEqual([
      "get-100 direct",
      "get-100 ours",
      "post-10k-signed-in direct",
      "post-10k-signed-in ours",
    ]);
    for (const { values } of figures) expect(values["req/s"]).toBeGreaterThan(0);
  }, 60_000);

  test("an answer that is not the function's is counted, by either load generator", async () => {
    await using bed = await layBed();
    const [short, long] = CASES;
    if (short === undefined || long === undefined) throw new Error("two cases are needed");
    const { upstreamPort: port, token } = bed;
    // Asked for 100 bytes, and told to expect 10 KiB.
    const path = "/function/alice-fn/100";
    const common = { port, path, token, connections: 2, core: EVERYWHERE.load };
    const wrk = await runWrk({ ...common, asked: long, seconds: 1 });
    expect(wrk.failures).toEqual([
      expect.stringMatching(/^\d+ wrong answers, the first a 200 with 100 bytes$/),
    ]);
    const openLoop = { port, path, host: HOST, connections: 2, warmUpS: 0, seconds: 0.1, perSecond: 100 };
    const other = await runOpenLoop({ ...openLoop, answer: "something else" }, EVERYWHERE.load);
    expect(other.failures).toEqual(["10 × 200 with 100 bytes that are not the function's"]);
  });
});

part(
  "nginx",
  "haproxy",
  "caddy",
)("comparators", () => {
  test("each does the work of every case that it takes part in, and turns away who shows no session", async () => {
    await using bed = await layBed();
    for (const plan of PLANS.filter(({ name }) => name !== MANY_ROUTES)) {
      await using comparator = await plan.start(bed);
      for (const asked of CASES.filter(plan.serves)) await checkItself(plan, comparator, asked, bed);
    }
  }, 60_000);
});

part("k6")("k6", () => {
  test("a script runs against the platform, and what it measured is read", async () => {
    const { code, stdout, stderr } = await bench(["k6-invoke", "--json", "--seconds", "2"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const { figures, failures } = JSON.parse(stdout);
    expect(failures).toEqual([]);
    expect(figures[0].values).toMatchObject({ failed: 0 });
    expect(figures[0].values.requests).toBeGreaterThan(0);
  }, 60_000);
});
