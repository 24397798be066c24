import type { BuildPlan, Refusal, StagedHandler, Step, Template } from "../template.ts";

const ENTRIES = ["handler.js", "handler.mjs", "handler.cjs", "handler.ts", "handler/index.js"];
/** npm runs these with every install, whether there is something to install or not. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepare"];
/** The script that `npm init`, and the official template, put where there are no tests. */
const NO_TESTS = /no test specified/;

export const node22: Template = {
  name: "node22",
  aliases: ["node20", "node18", "node"],
  toolchain: "node",
  files: { "index.mjs": "index.mjs" },
  handlerFolder: "function",
  buildArgs: ["NPM_CONFIG_REGISTRY", "NODE_ENV"],
  buildEnvironment: ({ cache }) => ({
    npm_config_cache: `${cache}/npm`,
    npm_config_audit: "false",
    npm_config_fund: "false",
    npm_config_update_notifier: "false",
    npm_config_loglevel: "warn",
    NODE_USE_SYSTEM_CA: "1",
  }),
  plan,
  start: {
    program: "node",
    heapArgument: "--max-old-space-size=",
    args: ["index.mjs"],
    environment: {},
  },
};

function plan(handler: StagedHandler): BuildPlan | Refusal {
  if (!ENTRIES.some((entry) => handler.exists(entry))) {
    return { problem: "handler.js was not found (handler.mjs and handler.cjs would do too)" };
  }
  const text = handler.read("package.json");
  if (text === undefined) return { files: {}, steps: [] };
  const manifest = parseManifest(text);
  if (manifest === undefined) return { problem: "package.json is not valid JSON" };
  return { files: {}, steps: [...installSteps(handler, manifest), ...testSteps(manifest)] };
}

interface Manifest {
  readonly packages: number;
  readonly scripts: Readonly<Record<string, unknown>>;
}

function installSteps(handler: StagedHandler, { packages, scripts }: Manifest): Step[] {
  if (packages === 0 && !INSTALL_SCRIPTS.some((name) => name in scripts)) return [];
  const locked = handler.exists("package-lock.json") || handler.exists("npm-shrinkwrap.json");
  const command = locked ? "ci" : "install";
  return [{ title: `npm ${command}`, argv: ["npm", command], folder: "function" }];
}

function testSteps({ scripts }: Manifest): Step[] {
  const test = scripts["test"];
  if (typeof test !== "string" || NO_TESTS.test(test)) return [];
  return [{ title: "npm test", argv: ["npm", "test"], folder: "function" }];
}

function parseManifest(text: string): Manifest | undefined {
  try {
    const manifest = asRecord(JSON.parse(text));
    const groups = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
    const packages = groups.flatMap((group) => Object.keys(asRecord(manifest[group]))).length;
    return { packages, scripts: asRecord(manifest["scripts"]) };
  } catch {
    return undefined;
  }
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
