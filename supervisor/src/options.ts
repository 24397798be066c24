import { parseArgs } from "node:util";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** What was asked on the command line. */
export interface Options {
  /** Port of the edge; 0 for any free one. */
  readonly port: number;
  readonly data: string;
  /** Origin that the world reaches the port by, through whatever stands before it; `undefined` for this machine alone. */
  readonly url: string | undefined;
  /** As given; `undefined` where the data folder or git decides. */
  readonly owner: string | undefined;
  readonly json: boolean;
  readonly empty: boolean;
  readonly help: boolean;
}

export const USAGE = `npm start -- [flags]

  --port <port>   port of everything people see (default 8080; 0: any free one)
  --data <folder> where repositories, functions, keys and logs are kept (default ./data)
  --url <origin>  how the world reaches that port, as https://fn.example.com: functions then answer at
                  https://<owner>.fn.example.com, the rest at https://system.fn.example.com
                  (default: http://localhost:<port>, for this machine alone)
  --owner <slug>  the local owner, as in http://<slug>.localhost (default: the first one of the
                  data folder, else from git config user.name, else dev)
  --empty         do not push the bundled example
  --json          one line of JSON on standard output when ready, everything else on standard error
  --help          this text

The logs in <data>/logs say only what goes wrong, and control-plane.log what the audit trail says.
  LOG_LEVEL=info npm start         logs each call, and what the platform does besides
  EDGE_ACCESS_LOG=all npm start    logs each call and nothing more
`;

/** @throws KnownError `usage` */
export function parseOptions(args: readonly string[]): Options {
  const { port, ...flags } = read(args);
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new KnownError("usage", `--port must be 0 to 65535, not "${port}"`);
  }
  if (flags.data === "") throw new KnownError("usage", "--data must name a folder");
  return { ...flags, owner: flags.owner, url: parseUrl(flags.url), port: Number(port) };
}

function parseUrl(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  // An address has no names below it, and every owner is one.
  const isNamed = url !== null && /^https?:$/.test(url.protocol) && /[a-z][a-z0-9-]*$/.test(url.hostname);
  if (!isNamed || (text !== url.origin && text !== `${url.origin}/`)) {
    throw new KnownError("usage", `--url must be an origin such as https://fn.example.com, not "${text}"`);
  }
  return url.origin;
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        port: { type: "string", default: "8080" },
        data: { type: "string", default: "data" },
        url: { type: "string" },
        owner: { type: "string" },
        json: { type: "boolean", default: false },
        empty: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    const [reason] = error instanceof Error ? error.message.split(". ") : [String(error)];
    throw new KnownError("usage", `${reason}. \`npm start -- --help\` lists the flags.`, { cause: error });
  }
}
