import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  Lexer,
  type Node,
  parseAllDocuments,
  visit,
  type YAMLMap,
} from "yaml";
import { type Findings, invalid } from "./findings.ts";
import { quote } from "./quote.ts";

export const MAX_BYTES = 256 * 1024;
const MAX_ALIASES = 100;
const MAX_DEPTH = 32;
const MAX_NODES = 20_000;
const TOO_MANY = `it has more than ${MAX_NODES} values`;
const TOO_DEEP = `it is nested deeper than ${MAX_DEPTH} levels`;
/** What the lexer says before a plain scalar; it stands for no text. */
const SCALAR = "\x1f";

/** A document whose size is bounded and whose every key and alias has one meaning. */
export interface YamlTree {
  readonly root: Node;
  /** What an alias stands for; any other node is itself. */
  resolve(node: Node | null): Node | null;
}

/**
 * The one YAML document of a text.
 * @throws Rejected `stack-file-invalid` where it is none, or is refused for its size or for what it can be taken for.
 */
export function parseYamlTree(text: string, findings: Findings): YamlTree {
  if (Buffer.byteLength(text) > MAX_BYTES)
    throw findings.invalid(undefined, `it is larger than ${MAX_BYTES / 1024} KiB`);
  const excess = findExcess(text);
  if (excess !== undefined)
    throw invalid(findings.file, excess.what, text.slice(0, excess.offset).split("\n").length);
  const [document, second] = parseDocuments(text, findings);
  if (document === undefined || document.contents === null) throw findings.invalid(undefined, "it is empty");
  const [error] = [...document.errors, ...document.warnings];
  if (error !== undefined)
    throw findings.invalidAt(error.pos[0], error.message.split("\n")[0] ?? "it is not YAML");
  if (second !== undefined) throw findings.invalid(second.contents, "it must hold one document only");
  const root = document.contents;
  const targets = checkNodes(root, findings);
  return { root, resolve: (node) => (node && targets.get(node)) ?? node };
}

function parseDocuments(text: string, findings: Findings): readonly Document.Parsed[] {
  const documents = parseAllDocuments(text, {
    lineCounter: findings.lines,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "silent",
    // Scalars keep what was written: `1.0` and `0x1F` are not numbers to a function's environment.
    schema: "failsafe",
  });
  return Array.isArray(documents) ? documents : [];
}

/** Refuses what has no bound or more than one meaning. @returns what each alias stands for. */
function checkNodes(root: Node, findings: Findings): ReadonlyMap<Node, Node> {
  const targets = new Map<Node, Node>();
  const anchors = new Map<string, Node>();
  let nodes = 0;
  visit(root, {
    Node: (_key, node, path) => {
      nodes += 1;
      if (nodes > MAX_NODES) throw findings.invalid(node, TOO_MANY);
      if (path.filter((above) => isCollection(above)).length >= MAX_DEPTH)
        throw findings.invalid(node, TOO_DEEP);
      if (node.tag !== undefined) throw findings.invalid(node, `the tag ${node.tag} is not allowed`);
      if (isMap<Node>(node)) refuseTwins(node, findings);
      if (isAlias(node)) {
        if (targets.size >= MAX_ALIASES)
          throw findings.invalid(node, `it has more than ${MAX_ALIASES} aliases`);
        if (path.some((above) => "anchor" in above && above.anchor !== undefined))
          throw findings.invalid(node, "an alias must not stand inside of what another alias may name");
        const target = anchors.get(node.source);
        if (target === undefined)
          throw findings.invalid(node, `there is no anchor ${quote(node.source)} before this alias`);
        targets.set(node, target);
      } else if ("anchor" in node && typeof node.anchor === "string") anchors.set(node.anchor, node);
    },
  });
  return targets;
}

function refuseTwins(map: YAMLMap<Node>, findings: Findings): void {
  const seen = new Map<unknown, Node>();
  for (const { key } of map.items) {
    if (!isScalar(key)) continue;
    const twin = seen.get(key.value);
    if (twin !== undefined) {
      const lines = [twin, key].map((node) => findings.lineOf(node));
      throw findings.invalid(
        key,
        `${quote(String(key.value))} stands twice, on lines ${lines.join(" and ")}`,
      );
    }
    seen.set(key.value, key);
  }
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
