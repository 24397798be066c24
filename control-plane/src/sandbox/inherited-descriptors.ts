import { closeSync, readdirSync, readFileSync } from "node:fs";

const STANDARD_STREAMS = 3;
/** In the octal `flags` of `/proc/<pid>/fdinfo/<fd>` (proc(5)). */
const CLOSE_ON_EXEC = 0o2000000;

/**
 * Closes the descriptors that whoever started this process left open by mistake. They would go on to every build and
 * function, past the sandbox: an open folder outside of it is a way out. Does nothing where there is no /proc.
 */
export function closeInheritedDescriptors(): void {
  for (const name of descriptors()) {
    const descriptor = Number(name);
    if (descriptor < STANDARD_STREAMS) continue;
    try {
      const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, "utf8"))?.[1];
      if (flags !== undefined && (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0) closeSync(descriptor);
    } catch {
      // It was the listing's own, and is closed already.
    }
  }
}

function descriptors(): string[] {
  try {
    return readdirSync("/proc/self/fd");
  } catch {
    return [];
  }
}
