import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { findOnPath } from "../sandbox/find-on-path.ts";

export type ToolchainName = "node" | "python" | "go";

/** A language's programs on this machine. */
export interface Toolchain {
  readonly name: ToolchainName;
  readonly version: string;
  /** Name of a program → absolute path of what runs, with arguments that always come first. */
  readonly programs: Readonly<Record<string, readonly [string, ...string[]]>>;
  /** Files and folders it needs to see, and nothing above them: they may lie in somebody's home. */
  readonly reads: readonly string[];
  /** Folders that its programs expect on PATH. */
  readonly path: readonly string[];
}

/** What this machine can build and run. What is missing is looked for again from time to time, without anybody waiting. */
export interface Toolchains {
  find(name: ToolchainName): Toolchain | undefined;
}

const LOOK_AGAIN_MS = 10_000;
const run = promisify(execFile);

const DETECT: Readonly<Record<ToolchainName, () => Promise<Toolchain | undefined>>> = {
  node: async () => detectNode(),
  python: detectPython,
  go: async () => detectGo(),
};

export async function openToolchains(): Promise<Toolchains> {
  const found = new Map<ToolchainName, Toolchain>();
  let lookedAt = 0;
  const look = async (names: readonly ToolchainName[]): Promise<void> => {
    lookedAt = Date.now();
    await Promise.all(
      names.map(async (name) => {
        // Programs that vanish while they are looked at, as in an upgrade, are not there.
        const toolchain = await DETECT[name]().catch(() => undefined);
        if (toolchain === undefined) found.delete(name);
        else found.set(name, toolchain);
      }),
    );
  };
  await look(["node", "python", "go"]);
  return {
    find(name) {
      const toolchain = found.get(name);
      if (toolchain !== undefined && isThere(toolchain)) return toolchain;
      found.delete(name);
      if (Date.now() - lookedAt > LOOK_AGAIN_MS) void look([name]);
      return undefined;
    },
  };
}

function isThere(toolchain: Toolchain): boolean {
  return Object.values(toolchain.programs).every(([file]) => existsSync(file));
}

/** The platform's own Node, whatever else is installed; npm comes from wherever PATH has one. */
function detectNode(): Toolchain {
  const node = realpathSync(process.execPath);
  const npm = findNpm();
  return {
    name: "node",
    version: process.versions.node,
    programs: { node: [node], ...(npm === undefined ? {} : { npm: [node, npm] }) },
    reads: [node, ...(npm === undefined ? [] : [dirname(dirname(npm))])],
    path: [dirname(node)],
  };
}

function findNpm(): string | undefined {
  const given = process.env["npm_execpath"];
  if (given?.endsWith("npm-cli.js") && existsSync(given)) return realpathSync(given);
  const npm = findOnPath("npm");
  if (npm === undefined) return undefined;
  const script = realpathSync(npm);
  const candidates = [script, join(dirname(script), "../lib/node_modules/npm/bin/npm-cli.js")];
  return candidates.find((file) => file.endsWith("npm-cli.js") && existsSync(file));
}

/** What PATH has may be a script that picks a version (pyenv, asdf): only the interpreter knows where it really is. */
async function detectPython(): Promise<Toolchain | undefined> {
  const command = findOnPath("python3");
  if (command === undefined) return undefined;
  const ASK =
    "import sys, json, pip; print(json.dumps([sys.executable, sys.base_prefix, '%d.%d.%d' % sys.version_info[:3]]))";
  try {
    const { stdout } = await run(command, ["-c", ASK], { timeout: 10_000 });
    const [file, prefix, version] = JSON.parse(stdout) as [string, string, string];
    return {
      name: "python",
      version,
      programs: { python: [file] },
      reads: prefix === "/usr" || prefix === "/" ? [] : [prefix],
      path: [dirname(file)],
    };
  } catch {
    return undefined;
  }
}

function detectGo(): Toolchain | undefined {
  const command = findOnPath("go");
  if (command === undefined) return undefined;
  const go = realpathSync(command);
  const root = dirname(dirname(go));
  try {
    accessSync(join(root, "pkg/tool"), constants.R_OK);
    const version = /^go(\S+)/.exec(readFileSync(join(root, "VERSION"), "utf8"))?.[1];
    if (version === undefined) return undefined;
    return { name: "go", version, programs: { go: [go] }, reads: [root], path: [dirname(go)] };
  } catch {
    return undefined;
  }
}
