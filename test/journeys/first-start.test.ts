import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "@openfaas-cloud/shared/must.ts";
import { expect, test } from "vitest";
import { isRunning } from "../../supervisor/src/process-identity.ts";
import { eventually } from "../support/eventually.ts";
import { TestPlatform } from "../support/platform.ts";
import { descendantsOf } from "../support/process-tree.ts";
import { handlerSaying, stackFile, TestRepository } from "../support/repository.ts";
import { readRuns } from "../support/runs.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const MAIN = fileURLToPath(new URL("../../supervisor/src/main.ts", import.meta.url));

test("the first start deploys the example, the second one finds everything as it was", async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const first = await (async () => {
    await using platform = await TestPlatform.start({ data, args: [] });
    const exampleUrl = must(platform.ready.exampleUrl, "the example's URL");
    expect(exampleUrl).toBe(platform.functionUrl("hello"));
    expect((await platform.get(`${exampleUrl}?name=Ada`)).body).toBe("Hello, Ada!\n");
    const page = await platform.get(exampleUrl, { headers: { accept: "text/html" } });
    expect(page.headers["content-type"]).toContain("text/html");
    expect(page.body).toContain("<h1>Hello, world!</h1>");
    expect(platform.told.filter((line) => line.includes("remote:"))).not.toEqual([]);
    expect(await platform.stop()).toBe(0);
    return platform.ready;
  })();

  await using platform = await TestPlatform.start({ data, args: [] });
  expect(platform.ready.token).toBe(first.token);
  expect(platform.ready.signInUrl).not.toBe(first.signInUrl);
  expect(await platform.answerOf("hello")).toBe("Hello, world!\n");
  expect(readRuns(platform)).toHaveLength(1);
}, 90_000);

test("a platform that is empty says so and takes the first push", async () => {
  await using folder = await temporaryFolder();
  await using platform = await TestPlatform.start({ data: folder.path });
  expect(platform.ready.exampleUrl).toBeNull();
  expect(platform.ready.gitBaseUrl).toMatch(/^http:\/\/system\.localhost:\d+\/git$/);
  await using repository = await TestRepository.create(platform, "first", {
    "stack.yml": stackFile("greet"),
    "greet/handler.js": handlerSaying("hello"),
  });
  const pushed = await repository.push();
  expect(pushed).toMatchObject({ code: 0 });
  expect(await platform.answerOf("greet")).toBe("hello");
}, 90_000);

test("with a URL of its own everything is named by it, and the edge answers for it", async () => {
  await using folder = await temporaryFolder();
  await using platform = await TestPlatform.start({
    data: folder.path,
    args: ["--url", "https://fn.example.com"],
  });
  const { dashboardUrl, gitBaseUrl, signInUrl, exampleUrl } = platform.ready;
  expect(dashboardUrl).toBe("https://system.fn.example.com/dashboard/");
  expect(gitBaseUrl).toBe("https://system.fn.example.com/git");
  expect(signInUrl).toMatch(/^https:\/\/system\.fn\.example\.com\/dashboard\/sign-in#code=/);
  // Pushed to the edge under that name, and deployed.
  expect(exampleUrl).toBe("https://alice.fn.example.com/hello");
  const throughProxy = { headers: { host: "alice.fn.example.com" } };
  const answer = await platform.get(`http://${platform.ready.listensOn}/hello`, throughProxy);
  expect(answer).toMatchObject({ status: 200, body: expect.stringContaining("Hello") });
});

test("the dashboard is served and metrics are not, where the public looks", async () => {
  await using folder = await temporaryFolder();
  await using platform = await TestPlatform.start({ data: folder.path });
  const dashboard = await platform.get(platform.ready.dashboardUrl);
  expect(dashboard.status).toBe(200);
  expect(dashboard.headers["content-type"]).toContain("text/html");
  expect((await platform.get(new URL("/metrics", platform.ready.dashboardUrl).href)).status).toBe(404);
  const { port } = new URL(platform.ready.dashboardUrl);
  const home = await platform.get(`http://localhost:${port}/`);
  expect(home.headers.location).toBe(`//system.localhost:${port}/dashboard/`);
  expect(await platform.metrics("edge")).toContain("gateway_function_invocation_total");
  expect(await platform.metrics("controlPlane")).toContain("ofc_route_propagation_seconds");
}, 60_000);

test("two platforms run side by side and know nothing of each other", async () => {
  await using folder = await temporaryFolder();
  const [one, other] = await Promise.all([
    TestPlatform.start({ data: join(folder.path, "one") }),
    TestPlatform.start({ data: join(folder.path, "other") }),
  ]);
  await using _one = one;
  await using _other = other;
  await using repository = await TestRepository.create(one, "app", {
    "stack.yml": stackFile("greet"),
    "greet/handler.js": handlerSaying("from one"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  expect(await one.answerOf("greet")).toBe("from one");
  expect((await other.get(other.functionUrl("greet"))).status).toBe(404);
}, 90_000);

test.runIf(process.platform === "linux")(
  "Ctrl-C ends every process, also those of functions",
  async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path, args: [] });
    const processes = descendantsOf(platform.ready.pids.supervisor);
    // The edge, the control plane and the example's function at least.
    expect(processes.length).toBeGreaterThanOrEqual(3);
    expect(await platform.stop("SIGINT")).toBe(0);
    expect(processes.filter(isRunning)).toEqual([]);
  },
  60_000,
);

test.runIf(process.platform === "linux")(
  "no plane outlives a supervisor that is killed",
  async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path, args: [] });
    const processes = descendantsOf(platform.ready.pids.supervisor);
    await platform.stop("SIGKILL");
    await eventually("all have ended", () => !processes.some(isRunning), { withinMs: 35_000 });
  },
  90_000,
);

test("a data folder in use is refused with the process that holds it", async () => {
  await using folder = await temporaryFolder();
  await using platform = await TestPlatform.start({ data: folder.path });
  const second = TestPlatform.start({ data: folder.path });
  await expect(second).rejects.toThrow(`in use by process ${platform.ready.pids.supervisor}.`);
}, 60_000);

test("a port in use is refused in one line, and nothing is left running or in the way", async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "mine"));
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  const address = holder.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const { code, stderr } = await startAndEnd(
    "--port",
    String(port),
    "--data",
    join(folder.path, "mine/new/data"),
    "--owner",
    "alice",
  );
  holder.close();
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: `Port ${port} is in use (127.0.0.1). Choose another one with --port.\n`,
  });
  expect(await readdir(folder.path, { recursive: true })).toEqual(["mine"]);
});

test("an owner that cannot be one is refused before anything is written", async () => {
  await using folder = await temporaryFolder();
  const { code, stderr } = await startAndEnd("--data", join(folder.path, "data"), "--owner", "Nina!");
  expect(code).toBe(2);
  expect(stderr).toContain('"Nina!" is not. "nina" would do.');
  expect(await readdir(folder.path)).toEqual([]);
});

test.runIf(process.platform === "linux")(
  "a data folder where none can be made is refused in one line",
  async () => {
    expect(await startAndEnd("--port", "0", "--data", "/proc/x/data")).toEqual({
      code: 1,
      stderr:
        "The data folder /proc/x/data cannot be used: /proc/x cannot be made (ENOENT). Choose another one with --data.\n",
    });
  },
);

test("a flag that does not exist ends the start with code 2", async () => {
  const { code, stderr } = await startAndEnd("--prot", "8080");
  expect(code).toBe(2);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain("'--prot'");
});

async function startAndEnd(...args: string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: 10_000,
    killSignal: "SIGKILL",
  });
  const chunks: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = await once(child, "close");
  return { code, stderr: Buffer.concat(chunks).toString("utf8") };
}
