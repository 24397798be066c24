import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";

/** A short name of a data folder, by which what was started from it is told from what others started. */
export function scopeOf(dataDir: string): string {
  return createHash("sha256").update(realpathSync(dataDir)).digest("hex").slice(0, 12);
}
