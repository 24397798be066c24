import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { Node } from "yaml";
import type { FunctionSpec } from "../../function-spec.ts";
import type { Findings } from "./findings.ts";
import { IGNORED_FUNCTION_KEYS } from "./ignored-keys.ts";
import type { StackFileLimits } from "./limits.ts";
import { readAnnotations, readEdgeLimits, readLabels } from "./metadata.ts";
import { type Entry, type NodeReader, own, type Text, textsOf } from "./node-reader.ts";
import { quote } from "./quote.ts";
import { parseQuantity } from "./units.ts";

const MiB = 1024 * 1024;
const MIN_MEMORY_BYTES = 4 * MiB;
const VARIABLE_NAME = /^[A-Za-z_]\w*$/;

/** Lines of the stack file, from 1, at which a function asks for what can only be judged once it is planned. */
export interface FunctionLines {
  readonly name: number;
  readonly lang: number;
  readonly handler: number;
  /** By name. */
  readonly secrets: ReadonlyMap<string, number>;
}

export interface ReadFunction {
  readonly spec: FunctionSpec;
  readonly lines: FunctionLines;
}

/**
 * One function of the stack file.
 * @throws Rejected where nothing more can be read of it; what can be read past is noted in `findings`.
 */
export function readFunction(
  entry: Entry,
  from: { readonly reader: NodeReader; readonly findings: Findings; readonly limits: StackFileLimits },
): ReadFunction {
  return new FunctionReader(entry.key, from).read(entry);
}

class FunctionReader {
  readonly #path: string;
  readonly #reader: NodeReader;
  readonly #findings: Findings;
  readonly #limits: StackFileLimits;

  constructor(
    name: string,
    from: { readonly reader: NodeReader; readonly findings: Findings; readonly limits: StackFileLimits },
  ) {
    this.#path = `functions.${name}`;
    this.#reader = from.reader;
    this.#findings = from.findings;
    this.#limits = from.limits;
  }

  read({ key, value, at }: Entry): ReadFunction {
    const [path, reader, findings] = [this.#path, this.#reader, this.#findings];
    const name = FunctionName.safeParse(key);
    if (!name.success)
      throw findings.invalid(at, `the function's name ${quote(key)} ${name.error.issues[0]?.message}`);
    const fields = new Map(reader.map(value, path, at).map((entry) => [entry.key, entry]));
    const take = (field: string) => {
      const entry = fields.get(field);
      fields.delete(field);
      return entry;
    };
    const lang = take("lang");
    const handler = take("handler");
    if (lang === undefined) throw findings.invalid(at, `${path}.lang is missing: it names the template`);
    if (handler === undefined)
      throw findings.invalid(at, `${path}.handler is missing: it names the folder of the code`);
    const labels = readLabels(take("labels"), path, {
      reader,
      findings,
      maxReplicas: this.#limits.maxReplicas,
    });
    const annotations = readAnnotations(take("annotations"), path, { reader, findings });
    const environment = this.#readEnvironment(take("environment"));
    const routeLimits = readEdgeLimits(annotations, environment, path, { findings, maxima: this.#limits });
    const template = this.#readLang(lang);
    const folder = this.#readHandler(handler);
    const secrets = this.#readSecrets(take("secrets"));
    const spec: FunctionSpec = {
      name: name.data,
      lang: template,
      handler: folder,
      environment: textsOf(environment),
      secrets: [...secrets.keys()],
      labels: labels.kept,
      annotations: annotations.kept,
      buildArgs: textsOf(reader.texts(take("build_args"), `${path}.build_args`, VARIABLE_NAME)),
      memoryLimitBytes: this.#readLimits(take("limits")),
      replicas: labels.replicas,
      healthPath: annotations.healthPath,
      healthInitialDelayMs: annotations.healthInitialDelayMs,
      access: annotations.access,
      ...(routeLimits === undefined ? {} : { routeLimits }),
    };
    for (const rest of fields.values()) {
      const reason = own(IGNORED_FUNCTION_KEYS, rest.key) ?? "the stack file's schema has no such key";
      findings.ignore(rest.at, `${path}.${rest.key}`, reason);
    }
    const lineOf = (node: Node) => findings.lineOf(node);
    return { spec, lines: { name: lineOf(at), lang: lineOf(lang.at), handler: lineOf(handler.at), secrets } };
  }

  #readLang({ value, at }: Entry): string {
    const lang = this.#reader.string(value, `${this.#path}.lang`, at);
    if (!/^[\w.-]{1,100}$/.test(lang))
      throw this.#findings.invalid(at, `${this.#path}.lang is not a template's name`);
    return lang;
  }

  #readHandler({ value, at }: Entry): string {
    const handler = this.#reader.string(value, `${this.#path}.handler`, at);
    const refuse = (what: string) => this.#findings.invalid(at, `${this.#path}.handler ${what}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
    if (/[\x00-\x1f\x7f\\]/.test(handler)) throw refuse("must not hold backslashes or control characters");
    if (handler.startsWith("/")) throw refuse("must be relative to the root of the repository");
    const parts = handler.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.includes("..")) throw refuse("must stay inside the repository, so it cannot hold ..");
    if (parts.some((part) => part.toLowerCase() === ".git"))
      throw refuse("must not lead into git's own folder");
    if (handler === "") throw refuse("is empty: it names the folder of the code");
    return parts.join("/");
  }

  #readEnvironment(entry: Entry | undefined): readonly Text[] {
    const environment = this.#reader.texts(entry, `${this.#path}.environment`, VARIABLE_NAME);
    for (const { key, text, at } of environment) {
      if (/\$\{[^}]*\}/.test(text))
        this.#findings.ignore(
          at,
          `${this.#path}.environment.${key}`,
          "variables are not replaced: the value is passed as it is written",
        );
    }
    return environment;
  }

  /** Their names with the line of each. */
  #readSecrets(entry: Entry | undefined): ReadonlyMap<string, number> {
    const lines = new Map<string, number>();
    if (entry === undefined) return lines;
    const path = `${this.#path}.secrets`;
    for (const item of this.#reader.list(entry, path)) {
      const name = this.#reader.string(item, path, item ?? entry.at);
      if (!/^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/.test(name))
        throw this.#findings.invalid(
          item,
          `the secret's name ${quote(name)} must be of a-z, 0-9, '-', '_' and '.'`,
        );
      if (!lines.has(name)) lines.set(name, this.#findings.lineOf(item));
    }
    return lines;
  }

  #readLimits(entry: Entry | undefined): number {
    const path = `${this.#path}.limits`;
    const { defaultMemoryBytes, maxMemoryBytes } = this.#limits;
    let memory = defaultMemoryBytes;
    const entries = entry === undefined ? [] : this.#reader.map(entry.value, path, entry.at);
    for (const { key, value, at } of entries) {
      if (key !== "memory") {
        const known = key === "cpu" ? "the processor is shared evenly between functions" : undefined;
        this.#findings.ignore(at, `${path}.${key}`, known ?? "only memory can be limited");
        continue;
      }
      const asked = parseQuantity(this.#reader.string(value, `${path}.memory`, at));
      if (asked === undefined || asked < MIN_MEMORY_BYTES)
        throw this.#findings.invalid(at, `${path}.memory must be a size of at least 4Mi, such as 128Mi`);
      if (asked > maxMemoryBytes)
        this.#findings.ignore(
          at,
          `${path}.memory`,
          `${Math.floor(maxMemoryBytes / MiB)}Mi is the most, and is what it gets`,
        );
      memory = Math.min(asked, maxMemoryBytes);
    }
    return memory;
  }
}
