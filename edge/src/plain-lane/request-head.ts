import { fieldKind } from "../field-kinds.ts";
import {
  type CredentialsRule,
  credentialLines,
  HeadReader,
  isPassed,
  MAX_HEADER_LINES,
  type RequestHead,
} from "../request-fields.ts";
import { fieldLines, TOKEN, trimBlanks } from "./header-lines.ts";

export interface PlainRequestParts {
  readonly method: string;
  readonly rawTarget: string;
  readonly head: RequestHead;
  /** The lines that an upstream is sent as they came, each with its CRLF. */
  readonly passed: string;
  /** The whole head. */
  readonly text: string;
}

/**
 * A request of the narrow form that the plain lane serves, with its head read. A value: the next request of a connection whose
 * head is the same, byte for byte, is the same one, and what was made of it is made once.
 */
export class PlainRequest implements PlainRequestParts {
  readonly method: string;
  readonly rawTarget: string;
  readonly head: RequestHead;
  readonly passed: string;
  readonly text: string;
  #forwarded: { readonly path: string; readonly rule: CredentialsRule; readonly text: string } | undefined;

  constructor({ method, rawTarget, head, passed, text }: PlainRequestParts) {
    this.method = method;
    this.rawTarget = rawTarget;
    this.head = head;
    this.passed = passed;
    this.text = text;
  }

  /** Name, value, name, value. */
  get rawHeaders(): string[] {
    return fieldLines(this.text, this.text.indexOf("\r\n") + 2);
  }

  /** The head an upstream is sent, as far as it is the client's. */
  forwarded(path: string, rule: CredentialsRule): string {
    if (this.#forwarded?.path === path && this.#forwarded.rule === rule) return this.#forwarded.text;
    let text = `${this.method} ${path} HTTP/1.1\r\n${this.passed}`;
    const kept = credentialLines(this.head, rule);
    for (let i = 0; i < kept.length; i += 2) text += `${kept[i]}: ${kept[i + 1]}\r\n`;
    if (this.head.contentLength !== undefined) text += `Content-Length: ${this.head.contentLength}\r\n`;
    this.#forwarded = { path, rule, text };
    return text;
  }
}

/**
 * The whole grammar of a head that the plain lane takes: the usual methods, a target in origin-form, HTTP/1.1, and lines of
 * visible ASCII, each ended by CRLF. llhttp accepts everything that this matches, and reads the same from it; what it does
 * not match may still be legal, and is the full lane's to judge. No two of its repetitions can take the same character, so
 * that it does not backtrack.
 */
const HEAD = new RegExp(
  `^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /[!-~]* HTTP/1\\.1\\r\\n(?:${TOKEN}+:[\\t\\x20-\\x7e]*\\r\\n)+\\r\\n$`,
);

const VERSION_LENGTH = " HTTP/1.1".length;

/**
 * @param text one head as latin1, its empty line included
 * @returns `undefined` for what is not of the narrow form
 */
export function parseRequestHead(text: string): PlainRequest | undefined {
  if (!HEAD.test(text)) return undefined;
  const lineEnd = text.indexOf("\r\n");
  const methodEnd = text.indexOf(" ");
  const reader = new HeadReader("1.1");
  let passed = "";
  /** Where lines begin that pass and follow each other: they are taken as one. */
  let runAt = lineEnd + 2;
  let lines = 0;
  for (let at = runAt; at < text.length - 2; lines++) {
    const colon = text.indexOf(":", at);
    const next = text.indexOf("\r\n", colon) + 2;
    const kind = fieldKind(text.slice(at, colon));
    if (kind !== "end-to-end") {
      if (kind === "proxy-connection") return undefined;
      // What is refused is refused by the full lane too, which has the words for it.
      if (reader.read(kind, trimBlanks(text, colon + 1, next - 2)) !== undefined) return undefined;
      if (!isPassed(kind)) {
        if (at > runAt) passed += text.slice(runAt, at);
        runAt = next;
      }
    }
    at = next;
  }
  if (text.length - 2 > runAt) passed += text.slice(runAt, text.length - 2);
  if (lines > MAX_HEADER_LINES || !isPlain(reader)) return undefined;
  return new PlainRequest({
    method: text.slice(0, methodEnd),
    rawTarget: text.slice(methodEnd + 1, lineEnd - VERSION_LENGTH),
    head: reader,
    passed,
    text,
  });
}

function isPlain(head: RequestHead): boolean {
  if (head.host === undefined || head.chunked || head.asksUpgrade || head.expects) return false;
  if (head.maxForwards !== undefined) return false;
  return head.connectionOptions.every((option) => option === "close" || option === "keep-alive");
}
