import { isMap, isScalar, isSeq, type Node } from "yaml";
import type { Findings } from "./findings.ts";
import { quote } from "./quote.ts";
import type { YamlTree } from "./yaml-tree.ts";

/** A key of a map with its value; `at` is the key, by which it is found in the file. */
export interface Entry {
  readonly key: string;
  readonly value: Node | null;
  readonly at: Node;
}

/** An entry whose value is a single one. */
export interface Text {
  readonly key: string;
  readonly text: string;
  readonly at: Node;
}

const MAX_KEY_CHARACTERS = 300;
/** How YAML writes that there is no value. */
const NOTHING: ReadonlySet<unknown> = new Set([null, "", "~", "null", "Null", "NULL"]);

/** Reads maps, lists and single values out of a tree; `path` is what they are called where they are something else. */
export class NodeReader {
  readonly #tree: YamlTree;
  readonly #findings: Findings;

  constructor(tree: YamlTree, findings: Findings) {
    this.#tree = tree;
    this.#findings = findings;
  }

  /** A map's entries, with what `<<` merges into it; what is left empty is an empty map. */
  map(value: Node | null, path: string, at?: Node): Entry[] {
    const node = this.#tree.resolve(value);
    if (isNothing(node)) return [];
    const named = path || "the stack file";
    if (!isMap<Node, Node | null>(node))
      throw this.#findings.invalid(node ?? at, `${named} must be a map of keys to values`);
    const entries = new Map<string, Entry>();
    const merged: Entry[] = [];
    for (const pair of node.items) {
      const key = this.string(pair.key, `a key of ${named}`, pair.key);
      if (key.length > MAX_KEY_CHARACTERS)
        throw this.#findings.invalid(
          pair.key,
          `a key of ${path} is longer than ${MAX_KEY_CHARACTERS} characters`,
        );
      if (key === "<<") merged.push(...this.#merged(pair.value, path, pair.key));
      else entries.set(key, { key, value: this.#tree.resolve(pair.value), at: pair.key });
    }
    for (const entry of merged) if (!entries.has(entry.key)) entries.set(entry.key, entry);
    return [...entries.values()];
  }

  /** A list's items; what is left empty has none. */
  list(entry: Entry, path: string): readonly Node[] {
    if (isNothing(entry.value)) return [];
    if (!isSeq<Node>(entry.value)) throw this.#findings.invalid(entry.at, `${path} must be a list of names`);
    return entry.value.items;
  }

  string(node: Node | null, path: string, at: Node | undefined): string {
    const value = this.#tree.resolve(node);
    if (isScalar(value) && typeof value.value === "string") return value.value;
    throw this.#findings.invalid(value ?? at, `${path} must be a single value`);
  }

  /** A map of single values; `names` is what its keys have to look like. */
  texts(entry: Entry | undefined, path: string, names?: RegExp): Text[] {
    if (entry === undefined) return [];
    return this.map(entry.value, path, entry.at).map(({ key, value, at }) => {
      if (names !== undefined && !names.test(key))
        throw this.#findings.invalid(at, `${path}: the name ${quote(key)} must be of letters, digits and _`);
      const text = isNothing(value) ? "" : this.string(value, `${path}.${key}`, at);
      if (text.includes("\0")) throw this.#findings.invalid(at, `${path}.${key} must not hold a NUL`);
      return { key, text, at };
    });
  }

  #merged(value: Node | null, path: string, at: Node): Entry[] {
    const node = this.#tree.resolve(value);
    const sources = isSeq<Node>(node) ? node.items : [node];
    return sources.flatMap((source) => this.map(source, `${path}.<<`, at));
  }
}

export function textsOf(texts: readonly Text[]): Record<string, string> {
  return Object.fromEntries(texts.map(({ key, text }) => [key, text]));
}

/** Where the key stands. */
export function whereIs(key: string, texts: readonly Text[]): Node | undefined {
  return texts.find((text) => text.key === key)?.at;
}

/** The value of a key that the record itself has, whatever the key is called. */
export function own(record: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

function isNothing(value: Node | null): boolean {
  return value === null || (isScalar(value) && value.type === "PLAIN" && NOTHING.has(value.value));
}
