import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { type AuditHead, readHeadKey, readHeads } from "./ports/audit-sink/head.ts";
import { type ChainVerdict, verifyChain } from "./ports/audit-sink/verify-chain.ts";
import { openSqliteForReading } from "./ports/store/sqlite.ts";

const DATABASE = "control-plane.sqlite";
const USAGE = `Usage: npm run audit:verify -- <data folder> [--heads <file>] [--key <file>]

The data folder is the control plane's: control-plane within the one that the platform was started with.

Says whether the audit trail is as it was written. Reads only; the platform may be running.
  --heads  exported heads, best from where the platform cannot write; by default <data folder>/audit/heads
  --key    the key that verifies them; by default <heads>.jwk

Exit code: 0 intact, 1 broken, 2 it could not be found out.
`;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { heads: { type: "string" }, key: { type: "string" } },
    });
    const [dataDir, ...more] = positionals;
    if (dataDir === undefined || more.length > 0) throw new Error(USAGE);
    const database = join(dataDir, DATABASE);
    if (!existsSync(database)) throw new Error(missing(dataDir));
    const headsFile = values.heads ?? join(dataDir, "audit", "heads");
    const heads =
      values.heads !== undefined || existsSync(headsFile)
        ? await readHeads(headsFile, await readHeadKey(values.key ?? `${headsFile}.jwk`))
        : [];
    return await verify(database, heads);
  } catch (error) {
    process.stderr.write(`${errorMessage(error)}\n`);
    return 2;
  }
}

function missing(dataDir: string): string {
  const here = resolve(dataDir);
  const within = join(here, "control-plane");
  return existsSync(join(within, DATABASE))
    ? `There is no ${join(here, DATABASE)}. The control plane's data folder is within the one that you gave: give ${within}`
    : `There is no ${join(here, DATABASE)}, so this is not the control plane's data folder: give <data>/control-plane, where <data> is the folder that the platform was started with.`;
}

async function verify(database: string, heads: readonly AuditHead[]): Promise<number> {
  const store = openSqliteForReading(database);
  try {
    const verdict = await verifyChain(store, heads);
    process.stdout.write(`${inWords(verdict, heads.length)}\n`);
    return verdict.kind === "intact" ? 0 : 1;
  } catch (error) {
    throw new Error(`The audit trail in ${database} cannot be read: ${errorMessage(error)}`);
  } finally {
    await store.destroy();
  }
}

function inWords(verdict: ChainVerdict, heads: number): string {
  if (verdict.kind === "broken") return `BROKEN at event ${verdict.event}. ${verdict.reason}`;
  const { events, unhashed, hash, vouched } = verdict;
  return [
    `Intact: ${events} events, the last with hash ${hash}.`,
    unhashed > 0 ? `The first ${unhashed} were written before events had hashes.` : "",
    heads === 0
      ? "No exported head was found: an end that was cut off or replaced would not show."
      : `Exported heads (${heads}) vouch for all up to event ${vouched}.`,
  ]
    .filter((sentence) => sentence !== "")
    .join(" ");
}
