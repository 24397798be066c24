import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { ReadyMessage, StatusReply } from "@openfaas-cloud/shared/process-message.ts";
import { checkOwner, chooseOwner, keepKeys, openDataFolder, PUSH_TOKEN } from "./data-folder.ts";
import { DataLock } from "./data-lock.ts";
import type { ExamplePush } from "./example.ts";
import type { Options } from "./options.ts";
import {
  CONTROL_PLANE_FLAGS,
  EDGE_DRAIN_MS,
  EDGE_FLAGS,
  edgeStopMs,
  FEWER_ARENAS,
  passedOn,
} from "./plane-process.ts";
import { ProcessLog } from "./process-log.ts";
import { PublicPort } from "./public-port.ts";
import { SupervisedProcess } from "./supervised-process.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What is there to use once everything runs. */
export interface Platform {
  readonly data: string;
  readonly owner: string;
  /** `undefined` where it was revoked; the file that it is in is to go for there to be a new one. */
  readonly token: string | undefined;
  readonly tokenFile: string;
  readonly dashboardUrl: string;
  readonly signInUrl: string;
  readonly gitBaseUrl: string;
  readonly exampleUrl: string | null;
  readonly isolation: string;
  /** Where a proxy finds the platform; `undefined` where people come to the port themselves. */
  readonly listensOn: string | undefined;
  readonly edgeMetricsUrl: string;
  readonly controlPlaneMetricsUrl: string;
  readonly pids: { readonly supervisor: number; readonly edge: number; readonly controlPlane: number };
}

const CONTROL_PLANE_STOP_MS = 25_000;
const EDGE_READY_MS = 10_000;
const LOG_TRIM_MS = 60_000;

/** The edge and the control plane with the embedded defaults, kept running. */
export class Supervisor {
  readonly #options: Options;
  readonly #say: (line: string) => void;
  readonly #passedOn = passedOn(process.env);
  readonly #stack = new DisposableStack();
  #edge: SupervisedProcess | undefined;
  #controlPlane: SupervisedProcess | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: Options, say: (line: string) => void) {
    this.#options = options;
    this.#say = say;
  }

  /** Whether it was asked to end. */
  get stopping(): boolean {
    return this.#stopped !== undefined;
  }

  /** @throws KnownError where it cannot start; what did start has to be stopped still */
  async start(): Promise<Platform> {
    const { owner: asked } = this.#options;
    if (asked !== undefined) await checkOwner(asked);
    const data = this.#stack.use(openDataFolder(this.#options.data));
    // Before the port: what a killed supervisor left running may hold that still.
    const lock = this.#stack.use(await DataLock.acquire(data.path));
    // Before anything is kept: a start that is refused the port leaves no folder behind.
    const held = this.#stack.use(await PublicPort.hold(this.#options.port));
    const owner = await chooseOwner(data, asked);
    const keys = await keepKeys(data);
    const { port } = held;
    const publicUrl = new URL(this.#options.url ?? `http://localhost:${port}`);
    const systemHost = `system.${publicUrl.host}`;
    const systemUrl = `${publicUrl.protocol}//${systemHost}`;
    const shared = {
      LOG_LEVEL: "warn",
      ...FEWER_ARENAS,
      // Read instead of the TypeScript compiler being loaded: 17 MB less for each process, and a faster start.
      NODE_COMPILE_CACHE: resolve(
        process.env["NODE_COMPILE_CACHE"] ?? join(ROOT, "node_modules/.cache/compile"),
      ),
      ...this.#passedOn,
      FEED_CREDENTIAL: keys.feedCredential,
    };
    const started = () =>
      lock.recordPlanes([this.#edge?.pid, this.#controlPlane?.pid].filter((pid) => pid !== undefined));

    // The edge looks for the control plane where it first was, so that is where it comes back.
    let controlPlane: ReadyMessage | undefined;
    this.#controlPlane = new SupervisedProcess({
      name: "control plane",
      arguments: [...CONTROL_PLANE_FLAGS, join(ROOT, "control-plane/src/main.ts")],
      log: this.#log(join(data.logs, "control-plane.log")),
      environment: () => ({
        ...shared,
        CONTROL_PLANE_DATA: data.controlPlane,
        CONTROL_PLANE_HOST: "127.0.0.1",
        CONTROL_PLANE_PORT: String(controlPlane?.port ?? 0),
        CONTROL_PLANE_ADMIN_PORT: this.#adminPort("CONTROL_PLANE_ADMIN_PORT", controlPlane),
        PUBLIC_URL: publicUrl.origin,
        LOCAL_OWNER: owner,
        LOCAL_TOKEN: keys.pushToken,
      }),
      say: this.#say,
      started,
    });
    this.#refuseWhenStopping();
    controlPlane = await this.#controlPlane.start();

    let edge: ReadyMessage | undefined;
    this.#edge = new SupervisedProcess({
      name: "edge",
      arguments: [...EDGE_FLAGS, join(ROOT, "edge/src/main.ts")],
      descriptors: held.descriptors,
      log: this.#log(join(data.logs, "edge.log")),
      environment: () => ({
        EDGE_DRAIN_MS: String(EDGE_DRAIN_MS),
        ...shared,
        LISTEN_FDS: String(held.descriptors.length),
        EDGE_ADMIN_PORT: this.#adminPort("EDGE_ADMIN_PORT", edge),
        EDGE_DATA: data.edge,
        FUNCTIONS_DOMAIN: publicUrl.hostname,
        SYSTEM_DOMAIN: publicUrl.hostname,
        CONTROL_PLANE_URL: `http://127.0.0.1:${controlPlane?.port}`,
      }),
      say: this.#say,
      started,
    });
    this.#refuseWhenStopping();
    edge = await this.#edge.start();
    await edgeHasRoutes(edge.adminPort);

    const status = await this.#deployExample({ owner, token: keys.pushToken, port, systemHost });
    return {
      data: data.path,
      owner,
      token: status.tokenCounts ? keys.pushToken : undefined,
      tokenFile: join(data.keys, PUSH_TOKEN),
      dashboardUrl: `${systemUrl}/dashboard/`,
      signInUrl: (await this.#controlPlane.request("sign-in-link")).url,
      gitBaseUrl: `${systemUrl}/git`,
      exampleUrl: status.exampleUrl,
      isolation: status.isolation,
      listensOn: this.#options.url === undefined ? undefined : `127.0.0.1:${port}`,
      edgeMetricsUrl: `http://127.0.0.1:${edge.adminPort}/metrics`,
      controlPlaneMetricsUrl: `http://127.0.0.1:${controlPlane.adminPort}/metrics`,
      pids: {
        supervisor: process.pid,
        edge: this.#edge.pid ?? 0,
        controlPlane: this.#controlPlane.pid ?? 0,
      },
    };
  }

  /** The edge first, so that nothing new comes in and what is under way is answered; then the functions' keeper. */
  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      await this.#edge?.stop(edgeStopMs(this.#passedOn));
      await this.#controlPlane?.stop(CONTROL_PLANE_STOP_MS);
      this.#stack.dispose();
    })();
    return this.#stopped;
  }

  kill(): void {
    this.#edge?.kill();
    this.#controlPlane?.kill();
  }

  async #deployExample(push: Omit<ExamplePush, "say">): Promise<StatusReply> {
    const controlPlane = this.#controlPlane;
    if (controlPlane === undefined) throw new Error("the example is pushed once the control plane runs");
    const status = await controlPlane.request("status");
    if (status.deployed > 0 || this.#options.empty || !status.tokenCounts) return status;
    // Loaded only here: most starts have something deployed, and do without what it needs in memory.
    const { ExampleFailed, pushExample } = await import("./example.ts");
    try {
      this.#say("Pushing the bundled example …");
      await pushExample({ ...push, say: this.#say });
      return await controlPlane.request("status");
    } catch (error) {
      if (!(error instanceof ExampleFailed)) throw error;
      this.#say(error.message);
      return status;
    }
  }

  /** Of a plane that ran before the one it had, else the one that the environment gives, else any. */
  #adminPort(name: string, before: ReadyMessage | undefined): string {
    return String(before?.adminPort ?? this.#passedOn[name] ?? 0);
  }

  /** `stop` ends what is there; nothing may be started behind its back. */
  #refuseWhenStopping(): void {
    if (this.stopping) throw new KnownError("stopped", "Stopped before everything was started.");
  }

  #log(path: string): ProcessLog {
    const log = new ProcessLog(path);
    const timer = setInterval(() => log.trim(), LOG_TRIM_MS).unref();
    this.#stack.defer(() => clearInterval(timer));
    return log;
  }
}

/** Without its first routes the edge answers 503, which nobody should see who was told that all is ready. */
async function edgeHasRoutes(adminPort: number): Promise<void> {
  const deadline = performance.now() + EDGE_READY_MS;
  while (!(await answersOk(adminPort, "/readyz"))) {
    if (performance.now() > deadline) {
      throw new KnownError("start-failed", `The edge got no routes within ${EDGE_READY_MS / 1000} s.`);
    }
    await sleep(10);
  }
}

function answersOk(port: number, path: string): Promise<boolean> {
  // Imported as a module, node:http would load the whole of fetch as well, and that is 13 MB.
  const http = process.getBuiltinModule("node:http");
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const request = http.get({ host: "127.0.0.1", port, path, agent: false, timeout: 2_000 }, (answer) => {
    answer.resume();
    resolve(answer.statusCode === 200);
  });
  request.on("timeout", () => request.destroy());
  request.on("error", () => resolve(false));
  return promise;
}
