import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import { Access, type RouteLimits } from "@openfaas-cloud/shared/route.ts";
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
  type YAMLMap,
} from "yaml";
import type { FunctionSpec } from "../../function-spec.ts";
import { Rejected } from "../../rejected.ts";
import type { Source } from "../checkout.ts";
import {
  IGNORED_ANNOTATIONS,
  IGNORED_FUNCTION_KEYS,
  IGNORED_LABELS,
  type IgnoredKey,
} from "./ignored-keys.ts";
import { AUTH, isMistaken, isWithoutEffect, mistake, saysOrigin } from "./platform-keys.ts";
import { DEFAULT_ROUTE_LIMIT_MAXIMA, type RouteLimitMaxima, readRouteLimits } from "./route-limits.ts";
import { parseDuration, parseQuantity } from "./units.ts";

export interface StackFile {
  readonly functions: readonly FunctionSpec[];
  readonly ignored: readonly IgnoredKey[];
}

export interface StackFileLimits extends RouteLimitMaxima {
  readonly defaultMemoryBytes: number;
  readonly maxMemoryBytes: number;
  readonly maxReplicas: number;
}

const MiB = 1024 * 1024;

export const DEFAULT_STACK_FILE_LIMITS: StackFileLimits = {
  ...DEFAULT_ROUTE_LIMIT_MAXIMA,
  defaultMemoryBytes: 128 * MiB,
  maxMemoryBytes: 1024 * MiB,
  maxReplicas: 10,
};

/** Answered by the templates themselves, once the handler is loaded; a path of the handler's own is asked for by annotation. */
const DEFAULT_HEALTH_PATH = "/_/health";

const MAX_BYTES = 256 * 1024;
const MAX_ALIASES = 100;
const MAX_DEPTH = 32;
const MAX_FUNCTIONS = 100;
const MIN_MEMORY_BYTES = 4 * MiB;
const MAX_INITIAL_DELAY_MS = 120_000;
const MAX_NODES = 20_000;
/** An author mends no more at a time, and has to find them in a push's output. */
const MAX_MISTAKES = 20;
const TOO_MANY = `it has more than ${MAX_NODES} values`;
const TOO_DEEP = `it is nested deeper than ${MAX_DEPTH} levels`;
/** What the lexer says before a plain scalar; it stands for no text. */
const SCALAR = "\x1f";
/** How YAML writes that there is no value. */
const NOTHING: ReadonlySet<unknown> = new Set([null, "", "~", "null", "Null", "NULL"]);
const FILE_NAMES = ["stack.yml", "stack.yaml"];

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
 * @throws Rejected `stack-file-invalid`: a line of text for each mistake in a function, with its line in the file.
 */
export function parseStackFile(
  text: string,
  options: Partial<StackFileLimits> & { readonly name?: string } = {},
): StackFile {
  const reader = new Reader(text, options.name ?? "stack.yml", { ...DEFAULT_STACK_FILE_LIMITS, ...options });
  return reader.readStack();
}

type Entry = { readonly key: string; readonly value: Node | null; readonly at: Node };
type Text = { readonly key: string; readonly text: string; readonly at: Node };

class Reader {
  readonly #text: string;
  readonly #name: string;
  readonly #limits: StackFileLimits;
  readonly #lines = new LineCounter();
  readonly #ignored: IgnoredKey[] = [];
  /** What makes the file invalid while the rest of it can still be read. */
  readonly #mistakes: string[] = [];
  readonly #targets = new Map<Node, Node>();

  constructor(text: string, name: string, limits: StackFileLimits) {
    this.#text = text;
    this.#name = name;
    this.#limits = limits;
  }

  readStack(): StackFile {
    const functions: FunctionSpec[] = [];
    let provider = false;
    for (const { key, value, at } of this.#map(this.#parse(), "")) {
      switch (key) {
        case "version":
          if (this.#string(value, key, at) !== "1.0") throw this.#invalid(at, `version must be "1.0"`);
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
          this.#ignore(key, "the stack file's schema has no such key");
      }
    }
    if (this.#mistakes.length > 0) throw this.#mistaken();
    if (!provider)
      throw this.#invalid(undefined, "provider is missing: write provider, and below it name: openfaas");
    if (functions.length === 0)
      throw this.#invalid(undefined, "functions is missing: it names at least one function");
    return { functions, ignored: this.#ignored };
  }

  #parse(): Node {
    if (Buffer.byteLength(this.#text) > MAX_BYTES)
      throw this.#invalid(undefined, `it is larger than ${MAX_BYTES / 1024} KiB`);
    const excess = findExcess(this.#text);
    if (excess !== undefined)
      throw invalid(this.#name, excess.what, this.#text.slice(0, excess.offset).split("\n").length);
    const [document, second] = this.#parseDocuments();
    if (document === undefined || document.contents === null) throw this.#invalid(undefined, "it is empty");
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined)
      throw this.#invalidAt(error.pos[0], error.message.split("\n")[0] ?? "it is not YAML");
    if (second !== undefined) throw this.#invalid(second.contents, "it must hold one document only");
    this.#checkNodes(document.contents);
    return document.contents;
  }

  #parseDocuments(): readonly Document.Parsed[] {
    const documents = parseAllDocuments(this.#text, {
      lineCounter: this.#lines,
      uniqueKeys: false,
      prettyErrors: false,
      logLevel: "silent",
      // Scalars keep what was written: `1.0` and `0x1F` are not numbers to a function's environment.
      schema: "failsafe",
    });
    return Array.isArray(documents) ? documents : [];
  }

  /** Refuses what has no bound or more than one meaning, and finds what each alias stands for. */
  #checkNodes(root: Node): void {
    const anchors = new Map<string, Node>();
    let nodes = 0;
    let aliases = 0;
    visit(root, {
      Node: (_key, node, path) => {
        nodes += 1;
        if (nodes > MAX_NODES) throw this.#invalid(node, TOO_MANY);
        if (path.filter((above) => isCollection(above)).length >= MAX_DEPTH)
          throw this.#invalid(node, TOO_DEEP);
        if (node.tag !== undefined) throw this.#invalid(node, `the tag ${node.tag} is not allowed`);
        if (isMap<Node>(node)) this.#refuseTwins(node);
        if (isAlias(node)) {
          aliases += 1;
          if (aliases > MAX_ALIASES) throw this.#invalid(node, `it has more than ${MAX_ALIASES} aliases`);
          if (path.some((above) => "anchor" in above && above.anchor !== undefined))
            throw this.#invalid(node, "an alias must not stand inside of what another alias may name");
          const target = anchors.get(node.source);
          if (target === undefined)
            throw this.#invalid(node, `there is no anchor ${quote(node.source)} before this alias`);
          this.#targets.set(node, target);
        } else if ("anchor" in node && typeof node.anchor === "string") anchors.set(node.anchor, node);
      },
    });
  }

  #refuseTwins(map: YAMLMap<Node>): void {
    const seen = new Map<unknown, Node>();
    for (const { key } of map.items) {
      if (!isScalar(key)) continue;
      const twin = seen.get(key.value);
      if (twin !== undefined) {
        const lines = [twin, key].map((node) => this.#lines.linePos(node.range?.[0] ?? 0).line);
        throw this.#invalid(key, `${quote(String(key.value))} stands twice, on lines ${lines.join(" and ")}`);
      }
      seen.set(key.value, key);
    }
  }

  #readProvider(value: Node | null, at: Node): void {
    let name: string | undefined;
    for (const entry of this.#map(value, "provider", at)) {
      if (entry.key === "name") {
        name = this.#string(entry.value, "provider.name", entry.at);
        // `faas` is what the first stack files said; faas-cli took both.
        if (name !== "openfaas" && name !== "faas")
          throw this.#invalid(entry.at, "provider.name must be openfaas");
      } else if (entry.key === "gateway")
        this.#ignore("provider.gateway", "a push deploys to the platform it was pushed to");
      else if (entry.key === "network")
        this.#ignore("provider.network", "networks are chosen by the platform");
      else this.#ignore(`provider.${entry.key}`, "the stack file's schema has no such key");
    }
    if (name === undefined) throw this.#invalid(at, "provider.name is missing: it must be openfaas");
  }

  #readConfiguration(value: Node | null, at: Node): void {
    for (const { key } of this.#map(value, "configuration", at)) {
      const reasons: Record<string, string> = {
        templates: "templates come from the platform's own list",
        copy: "further folders are not copied into a build; keep what a function needs in its handler's folder",
      };
      this.#ignore(
        `configuration.${key}`,
        ownReason(reasons, key) ?? "the stack file's schema has no such key",
      );
    }
  }

  #readFunctions(value: Node | null, at: Node): FunctionSpec[] {
    const entries = this.#map(value, "functions", at);
    if (entries.length > MAX_FUNCTIONS)
      throw this.#invalid(at, `it has ${entries.length} functions; ${MAX_FUNCTIONS} is the most`);
    return entries.flatMap((entry) => {
      if (this.#mistakes.length > MAX_MISTAKES) return [];
      try {
        return [this.#readFunction(entry)];
      } catch (error) {
        if (!(error instanceof Rejected)) throw error;
        this.#mistakes.push(error.message);
        return [];
      }
    });
  }

  #readFunction({ key, value, at }: Entry): FunctionSpec {
    const name = FunctionName.safeParse(key);
    if (!name.success)
      throw this.#invalid(at, `the function's name ${quote(key)} ${name.error.issues[0]?.message}`);
    const path = `functions.${key}`;
    const fields = new Map(this.#map(value, path, at).map((entry) => [entry.key, entry]));
    const take = (field: string) => {
      const entry = fields.get(field);
      fields.delete(field);
      return entry;
    };
    const lang = take("lang");
    const handler = take("handler");
    if (lang === undefined) throw this.#invalid(at, `${path}.lang is missing: it names the template`);
    if (handler === undefined)
      throw this.#invalid(at, `${path}.handler is missing: it names the folder of the code`);
    const labels = this.#readLabels(take("labels"), path);
    const annotations = this.#readAnnotations(take("annotations"), path);
    const environment = this.#readEnvironment(take("environment"), path);
    const routeLimits = this.#readRouteLimits(annotations, environment, path);
    const spec: FunctionSpec = {
      name: name.data,
      lang: this.#readLang(lang, path),
      handler: this.#readHandler(handler, path),
      environment,
      secrets: this.#readSecrets(take("secrets"), path),
      labels: labels.kept,
      annotations: annotations.kept,
      buildArgs: this.#strings(take("build_args"), `${path}.build_args`, /^[A-Za-z_]\w*$/),
      memoryLimitBytes: this.#readLimits(take("limits"), path),
      replicas: labels.replicas,
      healthPath: annotations.healthPath,
      healthInitialDelayMs: annotations.healthInitialDelayMs,
      access: annotations.access,
      ...(routeLimits === undefined ? {} : { routeLimits }),
    };
    for (const rest of fields.keys()) {
      const reason = ownReason(IGNORED_FUNCTION_KEYS, rest) ?? "the stack file's schema has no such key";
      this.#ignore(`${path}.${rest}`, reason);
    }
    return spec;
  }

  #readLang({ value, at }: Entry, path: string): string {
    const lang = this.#string(value, `${path}.lang`, at);
    if (!/^[\w.-]{1,100}$/.test(lang)) throw this.#invalid(at, `${path}.lang is not a template's name`);
    return lang;
  }

  #readHandler({ value, at }: Entry, path: string): string {
    const handler = this.#string(value, `${path}.handler`, at);
    const refuse = (what: string) => this.#invalid(at, `${path}.handler ${what}`);
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

  #readEnvironment(entry: Entry | undefined, path: string): Record<string, string> {
    const environment = this.#strings(entry, `${path}.environment`, /^[A-Za-z_]\w*$/);
    for (const [name, value] of Object.entries(environment)) {
      if (/\$\{[^}]*\}/.test(value))
        this.#ignore(
          `${path}.environment.${name}`,
          "variables are not replaced: the value is passed as it is written",
        );
    }
    return environment;
  }

  #readSecrets(entry: Entry | undefined, path: string): string[] {
    if (entry === undefined || isNothing(entry.value)) return [];
    if (!isSeq<Node>(entry.value)) throw this.#invalid(entry.at, `${path}.secrets must be a list of names`);
    const names = entry.value.items.map((item) => {
      const name = this.#string(item, `${path}.secrets`, item ?? entry.at);
      if (!/^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/.test(name))
        throw this.#invalid(item, `the secret's name ${quote(name)} must be of a-z, 0-9, '-', '_' and '.'`);
      return name;
    });
    return [...new Set(names)];
  }

  #readLabels(entry: Entry | undefined, path: string): { kept: Record<string, string>; replicas: number } {
    const read = this.#texts(entry, `${path}.labels`);
    const labels = textsOf(read);
    const kept = this.#withoutPlatformKeys(read, path, "labels", IGNORED_LABELS);
    const key = "com.openfaas.scale.min";
    const minimum = ownReason(labels, key);
    if (minimum === undefined) return { kept, replicas: 1 };
    const { maxReplicas } = this.#limits;
    const replicas = /^\d{1,6}$/.test(minimum) ? Number(minimum) : 0;
    if (replicas < 1)
      this.#note(whereIs(key, read), `${path}.labels: ${key} must be a number from 1 to ${maxReplicas}`);
    if (replicas > maxReplicas)
      this.#ignore(
        `${path}.labels.com.openfaas.scale.min`,
        `${maxReplicas} replicas is the most, and is what it gets`,
      );
    return { kept, replicas: Math.min(replicas, maxReplicas) };
  }

  #readAnnotations(entry: Entry | undefined, path: string) {
    const read = this.#texts(entry, `${path}.annotations`);
    const annotations = textsOf(read);
    const kept = this.#withoutPlatformKeys(read, path, "annotations", IGNORED_ANNOTATIONS);
    const get = (key: string) => ownReason(annotations, key);
    const refuse = (key: string, what: string) =>
      this.#note(whereIs(key, read), `${path}.annotations: ${key} ${what}`);

    const healthPath = get("com.openfaas.health.http.path") ?? DEFAULT_HEALTH_PATH;
    if (!/^\/[\w\-.~!$&'()*+,;=:@%/?]{0,199}$/.test(healthPath))
      refuse("com.openfaas.health.http.path", "must be a path that begins with /");
    const delay = get("com.openfaas.health.http.initialDelay");
    const healthInitialDelayMs = delay === undefined ? 0 : (parseDuration(delay) ?? Number.POSITIVE_INFINITY);
    if (healthInitialDelayMs > MAX_INITIAL_DELAY_MS)
      refuse("com.openfaas.health.http.initialDelay", "must be a duration of at most 2m, such as 30s");
    const auth = get(AUTH) ?? "public";
    const access = Access.options.find((option) => option === auth);
    if (access === undefined) refuse(AUTH, `must be one of ${Access.options.join(", ")}`);
    // What was refused goes nowhere: the file is refused for it once it is read.
    return { kept, refuse, healthPath, healthInitialDelayMs, access: access ?? "members" };
  }

  /** What is asked of the edge. */
  #readRouteLimits(
    annotations: {
      readonly kept: Readonly<Record<string, string>>;
      readonly refuse: (key: string, what: string) => void;
    },
    environment: Readonly<Record<string, string>>,
    path: string,
  ): Partial<RouteLimits> | undefined {
    const { kept, refuse } = annotations;
    return readRouteLimits(
      {
        annotation: (key) => ownReason(kept, key),
        variable: (name) => ownReason(environment, name),
        refuse,
        ignore: (key, reason) => {
          const where = Object.hasOwn(kept, key) ? "annotations" : "environment";
          this.#ignore(`${path}.${where}.${key}`, reason);
        },
      },
      this.#limits,
    );
  }

  /** Labels and annotations are kept as they are, but for what only the platform may say. */
  #withoutPlatformKeys(
    entries: readonly Text[],
    path: string,
    kind: "annotations" | "labels",
    withoutEffect: Readonly<Record<string, string>>,
  ): Record<string, string> {
    return textsOf(
      entries.filter(({ key, at }) => {
        if (isMistaken(kind, key)) {
          this.#note(at, `${path}.${kind}: ${quote(key)} ${mistake(kind, key)}`);
          return false;
        }
        const unread = isWithoutEffect(kind, key) ? `the platform reads no such key of ${kind}` : undefined;
        const reason = ownReason(withoutEffect, key) ?? unread;
        if (reason !== undefined) this.#ignore(`${path}.${kind}.${key}`, reason);
        if (!saysOrigin(key)) return true;
        this.#ignore(`${path}.${kind}.${key}`, "only the platform says where a function comes from");
        return false;
      }),
    );
  }

  #readLimits(entry: Entry | undefined, path: string): number {
    let memory = this.#limits.defaultMemoryBytes;
    for (const { key, value, at } of entry === undefined
      ? []
      : this.#map(entry.value, `${path}.limits`, entry.at)) {
      if (key !== "memory") {
        const known = key === "cpu" ? "the processor is shared evenly between functions" : undefined;
        this.#ignore(`${path}.limits.${key}`, known ?? "only memory can be limited");
        continue;
      }
      const asked = parseQuantity(this.#string(value, `${path}.limits.memory`, at));
      if (asked === undefined || asked < MIN_MEMORY_BYTES)
        throw this.#invalid(at, `${path}.limits.memory must be a size of at least 4Mi, such as 128Mi`);
      const { maxMemoryBytes } = this.#limits;
      if (asked > maxMemoryBytes)
        this.#ignore(
          `${path}.limits.memory`,
          `${Math.floor(maxMemoryBytes / MiB)}Mi is the most, and is what it gets`,
        );
      memory = Math.min(asked, maxMemoryBytes);
    }
    return memory;
  }

  #strings(entry: Entry | undefined, path: string, names?: RegExp): Record<string, string> {
    return textsOf(this.#texts(entry, path, names));
  }

  #texts(entry: Entry | undefined, path: string, names?: RegExp): Text[] {
    if (entry === undefined) return [];
    return this.#map(entry.value, path, entry.at).map(({ key, value, at }) => {
      if (names !== undefined && !names.test(key))
        throw this.#invalid(at, `${path}: the name ${quote(key)} must be of letters, digits and _`);
      const text = isNothing(value) ? "" : this.#string(value, `${path}.${key}`, at);
      if (text.includes("\0")) throw this.#invalid(at, `${path}.${key} must not hold a NUL`);
      return { key, text, at };
    });
  }

  #string(node: Node | null, path: string, at: Node | undefined): string {
    const value = this.#resolve(node);
    if (isScalar(value) && typeof value.value === "string") return value.value;
    throw this.#invalid(value ?? at, `${path} must be a single value`);
  }

  /** A map's entries, with what `<<` merges into it; what is left empty is an empty map. */
  #map(value: Node | null, path: string, at?: Node): Entry[] {
    const node = this.#resolve(value);
    if (isNothing(node)) return [];
    if (!isMap<Node, Node | null>(node))
      throw this.#invalid(node ?? at, `${path || "the stack file"} must be a map of keys to values`);
    const entries = new Map<string, Entry>();
    const merged: Entry[] = [];
    for (const pair of node.items) {
      const key = this.#string(pair.key, `a key of ${path || "the stack file"}`, pair.key);
      if (key.length > 300) throw this.#invalid(pair.key, `a key of ${path} is longer than 300 characters`);
      if (key === "<<") merged.push(...this.#merged(pair.value, path, pair.key));
      else entries.set(key, { key, value: this.#resolve(pair.value), at: pair.key });
    }
    for (const entry of merged) if (!entries.has(entry.key)) entries.set(entry.key, entry);
    return [...entries.values()];
  }

  #merged(value: Node | null, path: string, at: Node): Entry[] {
    const node = this.#resolve(value);
    const sources = isSeq<Node>(node) ? node.items : [node];
    return sources.flatMap((source) => this.#map(source, `${path}.<<`, at));
  }

  #resolve(node: Node | null): Node | null {
    return (node && this.#targets.get(node)) ?? node;
  }

  #ignore(key: string, reason: string): void {
    this.#ignored.push({ key, reason });
  }

  #note(at: Node | undefined, what: string): void {
    if (this.#mistakes.length <= MAX_MISTAKES) this.#mistakes.push(this.#invalid(at, what).message);
  }

  #mistaken(): Rejected {
    const told = this.#mistakes.slice(0, MAX_MISTAKES);
    if (told.length < this.#mistakes.length)
      told.push(`There may be more: these are the first ${MAX_MISTAKES}.`);
    return new Rejected("stack-file-invalid", told.join("\n"));
  }

  #invalid(at: Node | undefined | null, what: string): Rejected {
    const offset = at?.range?.[0];
    return offset === undefined ? invalid(this.#name, what) : this.#invalidAt(offset, what);
  }

  #invalidAt(offset: number, what: string): Rejected {
    return invalid(this.#name, what, this.#lines.linePos(offset).line);
  }
}

function invalid(name: string, what: string, line?: number): Rejected {
  return new Rejected("stack-file-invalid", `${name}${line === undefined ? "" : `, line ${line}`}: ${what}.`);
}

function isNothing(value: Node | null): boolean {
  return value === null || (isScalar(value) && value.type === "PLAIN" && NOTHING.has(value.value));
}

function whereIs(key: string, texts: readonly Text[]): Node | undefined {
  return texts.find((text) => text.key === key)?.at;
}

function textsOf(texts: readonly Text[]): Record<string, string> {
  return Object.fromEntries(texts.map(({ key, text }) => [key, text]));
}

function ownReason(reasons: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(reasons, key) ? reasons[key] : undefined;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/**
 * Where the text holds more values, or opens more levels within a line, than are allowed, by its tokens alone: a parser
 * would go through all of them first. What is nested by indentation cannot get far in a file of this size.
 */
function findExcess(text: string): { readonly offset: number; readonly what: string } | undefined {
  let offset = 0;
  let flow = 0;
  let inLine = 0;
  let values = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === "[" || token === "{") flow += 1;
    else if (token === "]" || token === "}") flow -= 1;
    else if (token === "-" || token === "?" || token === ":") inLine += 1;
    else if (token === SCALAR) values += 1;
    else if (token.includes("\n")) inLine = 0;
    if (values > MAX_NODES) return { offset, what: TOO_MANY };
    if (flow > MAX_DEPTH || (flow <= 0 && inLine > MAX_DEPTH)) return { offset, what: TOO_DEEP };
    if (token !== SCALAR) offset += token.length;
  }
  return undefined;
}
