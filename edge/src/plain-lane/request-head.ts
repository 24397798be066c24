import type { RequestLines } from "../exchange.ts";
import { type RequestHead, readHead } from "../headers.ts";
import { fieldLines, TOKEN } from "./header-lines.ts";

/** A request of the narrow form that the plain lane serves, with its head read. */
export interface PlainRequest extends RequestLines {
  readonly head: RequestHead;
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
  const rawHeaders = fieldLines(text, lineEnd + 2);
  const head = readHead(rawHeaders, "1.1");
  // What readHead refuses is refused by the full lane too, which has the words for it.
  if ("status" in head || !isPlain(head, rawHeaders)) return undefined;
  return {
    method: text.slice(0, methodEnd),
    rawTarget: text.slice(methodEnd + 1, lineEnd - VERSION_LENGTH),
    httpVersion: "1.1",
    rawHeaders,
    head,
  };
}

function isPlain(head: RequestHead, rawHeaders: readonly string[]): boolean {
  if (head.host === undefined || head.chunked || head.asksUpgrade || head.expects) return false;
  // llhttp takes `Proxy-Connection` for a `Connection`; nobody else has to.
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    if (name.length === PROXY_CONNECTION.length && name.toLowerCase() === PROXY_CONNECTION) return false;
  }
  return true;
}

const PROXY_CONNECTION = "proxy-connection";
