import { readdirSync, readFileSync } from "node:fs";
import { findProcess, type ProcessIdentity } from "../../supervisor/src/process-identity.ts";

/** Every process below this one, however deep. Linux only. */
export function descendantsOf(ancestor: number): ProcessIdentity[] {
  const children = Map.groupBy(processes(), ({ parent }) => parent);
  const found: number[] = [];
  const visit = (pid: number) => {
    for (const child of children.get(pid) ?? []) {
      found.push(child.pid);
      visit(child.pid);
    }
  };
  visit(ancestor);
  return found.flatMap((pid) => findProcess(pid) ?? []);
}

function processes(): { pid: number; parent: number }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return [{ pid: Number(name), parent: Number(parent) }];
      } catch {
        return [];
      }
    });
}
