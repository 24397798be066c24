import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import type { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { Node } from "yaml";
import type { FunctionSpec } from "../../function-spec.ts";
import type { Annotation } from "../../ports/source-host/source-host.ts";
import { Rejected } from "../../rejected.ts";
import type { Source } from "../checkout.ts";
import { Findings, invalid } from "./findings.ts";
import { type FunctionLines, type ReadFunction, readFunction } from "./function-entry.ts";
import type { IgnoredKey } from "./ignored-keys.ts";
import { DEFAULT_STACK_FILE_LIMITS, type StackFileLimits } from "./limits.ts";
import { NodeReader, own } from "./node-reader.ts";
import { MAX_BYTES, parseYamlTree } from "./yaml-tree.ts";

export interface StackFile {
  /** `stack.yml` or `stack.yaml`. */
  readonly name: string;
  readonly functions: readonly FunctionSpec[];
  /** Where each function asks for what. */
  readonly lines: ReadonlyMap<FunctionName, FunctionLines>;
  readonly ignored: readonly IgnoredKey[];
  /** The first of what is ignored, each at its line. */
  readonly notices: readonly Annotation[];
}

const MAX_FUNCTIONS = 100;
const FILE_NAMES = ["stack.yml", "stack.yaml"];
const UNKNOWN_KEY = "the stack file's schema has no such key";
const IGNORED_PROVIDER_KEYS: Readonly<Record<string, string>> = {
  gateway: "a push deploys to the platform it was pushed to",
  network: "networks are chosen by the platform",
};
const IGNORED_CONFIGURATION_KEYS: Readonly<Record<string, string>> = {
  templates: "templates come from the platform's own list",
  copy: "further folders are not copied into a build; keep what a function needs in its handler's folder",
};

/**
 * Reads the stack file at the root of a checked-out repository.
 * @throws Rejected `stack-file-missing`, `stack-file-invalid`.
 */
export async function readStackFile(
  source: Pick<Source, "dir" | "symlinks">,
  limits?: Partial<StackFileLimits>,
): Promise<StackFile> {
  for (const name of FILE_NAMES) {
    const found = await lstat(join(source.dir, name)).catch(() => undefined);
    if (found === undefined) continue;
    if (!found.isFile()) throw invalid(name, "it must be a plain file, not a folder or a symbolic link");
    if (found.size > MAX_BYTES) throw invalid(name, `it is larger than ${MAX_BYTES / 1024} KiB`);
    await using file = await open(join(source.dir, name));
    return parseStackFile(await file.readFile("utf8"), { name, ...limits });
  }
  throw new Rejected(
    "stack-file-missing",
    "There is no stack.yml at the root of the repository: it names the functions and where their code is.",
  );
}

/**
 * What a stack file asks for. Every key is honoured or reported in `ignored`.
 * @throws Rejected `stack-file-invalid`: a line of text and an annotation for each mistake in a function, with its line in
 *   the file.
 */
export function parseStackFile(
  text: string,
  options: Partial<StackFileLimits> & { readonly name?: string } = {},
): StackFile {
  const findings = new Findings(options.name ?? "stack.yml");
  const tree = parseYamlTree(text, findings);
  const reader = new NodeReader(tree, findings);
  const limits = { ...DEFAULT_STACK_FILE_LIMITS, ...options };
  return new StackReader({ reader, findings, limits }).read(tree.root);
}

class StackReader {
  readonly #reader: NodeReader;
  readonly #findings: Findings;
  readonly #limits: StackFileLimits;

  constructor(from: {
    readonly reader: NodeReader;
    readonly findings: Findings;
    readonly limits: StackFileLimits;
  }) {
    this.#reader = from.reader;
    this.#findings = from.findings;
    this.#limits = from.limits;
  }

  read(root: Node): StackFile {
    const findings = this.#findings;
    const functions: ReadFunction[] = [];
    let provider = false;
    for (const { key, value, at } of this.#reader.map(root, "")) {
      switch (key) {
        case "version":
          if (this.#reader.string(value, key, at) !== "1.0")
            throw findings.invalid(at, `version must be "1.0"`);
          break;
        case "provider":
          provider = true;
          this.#readProvider(value, at);
          break;
        case "functions":
          functions.push(...this.#readFunctions(value, at));
          break;
        case "configuration":
          this.#readConfiguration(value, at);
          break;
        default:
          findings.ignore(at, key, UNKNOWN_KEY);
      }
    }
    findings.throwMistakes();
    if (!provider)
      throw findings.invalid(undefined, "provider is missing: write provider, and below it name: openfaas");
    if (functions.length === 0)
      throw findings.invalid(undefined, "functions is missing: it names at least one function");
    return {
      name: findings.file,
      functions: functions.map(({ spec }) => spec),
      lines: new Map(functions.map(({ spec, lines }) => [spec.name, lines])),
      ignored: findings.ignored,
      notices: findings.notices,
    };
  }

  #readProvider(value: Node | null, at: Node): void {
    let name: string | undefined;
    for (const entry of this.#reader.map(value, "provider", at)) {
      if (entry.key !== "name") {
        const reason = own(IGNORED_PROVIDER_KEYS, entry.key) ?? UNKNOWN_KEY;
        this.#findings.ignore(entry.at, `provider.${entry.key}`, reason);
        continue;
      }
      name = this.#reader.string(entry.value, "provider.name", entry.at);
      // `faas` is what the first stack files said; faas-cli took both.
      if (name !== "openfaas" && name !== "faas")
        throw this.#findings.invalid(entry.at, "provider.name must be openfaas");
    }
    if (name === undefined) throw this.#findings.invalid(at, "provider.name is missing: it must be openfaas");
  }

  #readConfiguration(value: Node | null, at: Node): void {
    for (const entry of this.#reader.map(value, "configuration", at)) {
      const reason = own(IGNORED_CONFIGURATION_KEYS, entry.key) ?? UNKNOWN_KEY;
      this.#findings.ignore(entry.at, `configuration.${entry.key}`, reason);
    }
  }

  #readFunctions(value: Node | null, at: Node): ReadFunction[] {
    const entries = this.#reader.map(value, "functions", at);
    if (entries.length > MAX_FUNCTIONS)
      throw this.#findings.invalid(at, `it has ${entries.length} functions; ${MAX_FUNCTIONS} is the most`);
    return entries.flatMap((entry) => {
      if (this.#findings.enough) return [];
      try {
        return [
          readFunction(entry, {
            reader: this.#reader,
            findings: this.#findings,
            limits: this.#limits,
          }),
        ];
      } catch (error) {
        if (!(error instanceof Rejected)) throw error;
        this.#findings.add(error);
        return [];
      }
    });
  }
}
