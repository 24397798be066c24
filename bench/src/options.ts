import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { PLANS } from "./comparators/plans.ts";
import { CASES } from "./workload.ts";

/** What a person may ask of a bench; each has its own defaults, and leaves alone what it has no use for. */
export interface BenchOptions {
  readonly pushes?: number;
  readonly rounds?: number;
  readonly seconds?: number;
  readonly cores?: 1 | 2;
  readonly only?: readonly string[];
  readonly cases?: readonly string[];
  readonly beside: readonly { name: string; port: number }[];
  readonly upstreamPort?: number;
  /** Folder where processor profiles of our edge go. */
  readonly profiles?: string;
}

export interface Asked {
  readonly name: string;
  readonly json: boolean;
  readonly options: BenchOptions;
}

export const OPTIONS_HELP = `  --json                one line of JSON for each bench
  --rounds <n>          how often everybody has a turn
  --seconds <n>         how long a turn, or a k6 script, lasts
  --only <a,b>          side-by-side: of ${PLANS.map(({ name }) => name).join(", ")}
  --cases <a,b>         side-by-side: of ${CASES.map(({ name }) => name).join(", ")}
  --cores 1|2           side-by-side: the proxy alone on a core, or everybody on both with two workers
  --upstream-port <n>   side-by-side, targets: where the upstream listens, for
  --beside <name=port>  side-by-side, targets: a proxy to it that you started yourself; may be given more than once
  --profiles <folder>   side-by-side: profile our edge, and say what its time goes into
  --pushes <n>          push-to-live, route-propagation, deploy-under-load: how many pushes`;

/** @throws KnownError `usage` */
export function parseOptions(args: readonly string[]): Asked {
  const { values, positionals } = parse(args);
  const [name, ...more] = positionals;
  if (name === undefined) throw usage("Which bench?");
  if (more.length > 0) throw usage(`One bench at a time: ${positionals.join(", ")}?`);
  return {
    name,
    json: values.json,
    options: {
      ...defined("pushes", positive("pushes", values.pushes)),
      ...defined("rounds", positive("rounds", values.rounds)),
      ...defined("seconds", positive("seconds", values.seconds)),
      ...defined("cores", coresOf(values.cores)),
      ...defined("only", listOf("only", values.only, PLANS)),
      ...defined("cases", listOf("cases", values.cases, CASES)),
      ...defined("upstreamPort", positive("upstream-port", values["upstream-port"])),
      ...defined("profiles", values.profiles === undefined ? undefined : resolve(values.profiles)),
      beside: (values.beside ?? []).map(besideOf),
    },
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        pushes: { type: "string" },
        rounds: { type: "string" },
        seconds: { type: "string" },
        cores: { type: "string" },
        only: { type: "string" },
        cases: { type: "string" },
        beside: { type: "string", multiple: true },
        profiles: { type: "string" },
        "upstream-port": { type: "string" },
      },
    });
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(Number.isInteger(value) && value > 0)) throw usage(`--${name} must be a whole number above 0`);
  return value;
}

function coresOf(text: string | undefined): 1 | 2 | undefined {
  const cores = positive("cores", text);
  if (cores === undefined || cores === 1 || cores === 2) return cores;
  throw usage("--cores must be 1 or 2");
}

function listOf(
  name: string,
  text: string | undefined,
  known: readonly { name: string }[],
): readonly string[] | undefined {
  const given = text?.split(",");
  const unknown = given?.find((each) => !known.some((one) => one.name === each));
  if (unknown !== undefined)
    throw usage(`--${name} does not know ${unknown}: ${known.map((one) => one.name).join(", ")}`);
  return given;
}

function besideOf(text: string): { name: string; port: number } {
  const [, name, port] = /^([\w-]+)=(\d+)$/.exec(text) ?? [];
  if (name === undefined || port === undefined) throw usage(`--beside takes <name>=<port>, not ${text}`);
  return { name, port: Number(port) };
}

function defined<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]?: V });
}

function usage(message: string): KnownError<"usage"> {
  return new KnownError("usage", message);
}
