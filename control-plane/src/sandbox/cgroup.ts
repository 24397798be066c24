import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** What a group of processes may use. `cpuWeight` is relative to 100, the weight of everything that has none. */
export interface GroupLimits {
  readonly memoryBytes: number;
  readonly processes: number;
  readonly cpuWeight: number;
}

/** Control groups this process may make: where, and in which of the kernel's two forms. */
export interface Cgroups {
  readonly version: 1 | 2;
  /** One folder per controller in version 1, a single one in version 2. */
  readonly bases: readonly string[];
}

const DEFAULT_SHARES = 1024;

/**
 * Looks for a place where groups can be made: below the platform's own group, else below one further up. `undefined` where
 * the memory controller cannot be had, as in most containers and for most who are not root.
 */
export function findCgroups(name: string): Cgroups | undefined {
  const own = parseOwnGroups(readText("/proc/self/cgroup"));
  const mounts = parseMounts(readText("/proc/self/mountinfo"));
  const unified = mounts.find((mount) => mount.type === "cgroup2");
  if (unified !== undefined) {
    const base = firstUsable(unified.path, own.get("") ?? "/", (parent) => tryBase(parent, name, 2));
    if (base !== undefined) return { version: 2, bases: [base] };
  }
  const baseOf = (controller: string): string | undefined => {
    const mount = mounts.find((each) => each.type === "cgroup" && each.options.includes(controller));
    const group = own.get(controller) ?? "/";
    return mount && firstUsable(mount.path, group, (parent) => tryBase(parent, name, 1));
  };
  const memory = baseOf("memory");
  if (memory === undefined) return undefined;
  return {
    version: 1,
    bases: [memory, ...["pids", "cpu"].flatMap((controller) => baseOf(controller) ?? [])],
  };
}

/** Makes a group with its limits and returns its folders; a process enters by writing its number to each `cgroup.procs`. */
export function makeCgroup(cgroups: Cgroups, id: string, limits: GroupLimits): readonly string[] {
  for (const base of cgroups.bases) prepare(base, cgroups.version);
  const folders = cgroups.bases.map((base) => join(base, id));
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    for (const [file, value] of limitFiles(cgroups.version, limits)) {
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), value);
    }
  }
  return folders;
}

export function pidsInCgroup(folders: readonly string[]): number[] {
  const text = folders.map((folder) => readText(join(folder, "cgroup.procs"))).join("\n");
  return [...new Set(text.split("\n").filter(Boolean).map(Number))];
}

/** Whether the kernel ended a process of the group for want of memory. */
export function ranOutOfMemory(folders: readonly string[]): boolean {
  const counters = folders.flatMap((folder) => [
    readText(join(folder, "memory.oom_control")),
    readText(join(folder, "memory.events")),
  ]);
  return counters.some((text) => Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0) > 0);
}

/** Removes an empty group. The kernel needs a moment after the last process of it ended. */
export async function removeCgroup(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    for (let attempt = 0; !removeFolder(folder) && attempt < 50; attempt++) await delay(10);
    // The one above it goes with the last: it refuses while there are others.
    removeFolder(dirname(folder));
  }
}

/** Removes groups in which nothing runs: what a crash left. */
export function removeEmptyCgroups(cgroups: Cgroups): void {
  for (const base of cgroups.bases.filter((folder) => existsSync(folder))) {
    const groups = readdirSync(base, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const group of groups) removeFolder(join(base, group.name));
    removeFolder(base);
  }
}

function limitFiles(version: 1 | 2, limits: GroupLimits): [string, string][] {
  const memory = String(limits.memoryBytes);
  const processes = String(limits.processes);
  return version === 2
    ? [
        ["memory.max", memory],
        ["memory.swap.max", "0"],
        ["memory.oom.group", "0"],
        ["pids.max", processes],
        ["cpu.weight", String(limits.cpuWeight)],
      ]
    : [
        ["memory.limit_in_bytes", memory],
        ["memory.memsw.limit_in_bytes", memory],
        ["pids.max", processes],
        ["cpu.shares", String(Math.max(2, Math.round((DEFAULT_SHARES * limits.cpuWeight) / 100)))],
      ];
}

function firstUsable(
  mount: string,
  own: string,
  prepare: (parent: string) => string | undefined,
): string | undefined {
  for (let path = own; ; path = dirname(path)) {
    const prepared = existsSync(join(mount, path)) ? prepare(join(mount, path)) : undefined;
    if (prepared !== undefined || path === "/") return prepared;
  }
}

/** In version 2 a group hands controllers to those below it only when told to, which fails where it holds processes itself. */
function prepare(base: string, version: 1 | 2): void {
  mkdirSync(base, { recursive: true });
  if (version === 2) writeFileSync(join(base, "cgroup.subtree_control"), "+memory +pids +cpu");
}

/** The group, if it can be made. It is not kept until something runs in it. */
function tryBase(parent: string, name: string, version: 1 | 2): string | undefined {
  const base = join(parent, name);
  try {
    prepare(base, version);
    return version === 2 || existsSync(join(base, "cgroup.procs")) ? base : undefined;
  } catch {
    return undefined;
  } finally {
    removeFolder(base);
  }
}

function removeFolder(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

/** Lines of /proc/self/cgroup: `4:memory:/a/b`, and `0::/a/b` for version 2. */
function parseOwnGroups(text: string): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const controller of controllers?.split(",") ?? []) groups.set(controller, path ?? "/");
  }
  return groups;
}

function parseMounts(text: string): { path: string; type: string; options: string[] }[] {
  return text.split("\n").flatMap((line) => {
    const [before, after] = line.split(" - ");
    const path = before?.split(" ")[4];
    const [type, , options] = after?.split(" ") ?? [];
    return path && type?.startsWith("cgroup") ? [{ path, type, options: options?.split(",") ?? [] }] : [];
  });
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
