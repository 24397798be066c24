import { fieldLines, TOKEN } from "./header-lines.ts";

/** The head of an upstream's answer. */
export interface AnswerHead {
  readonly minorVersion: "0" | "1";
  readonly status: number;
  readonly reason: string;
  readonly rawHeaders: string[];
}

/** RFC 9112 §4 and §5, without obsolete folding. Bytes above ASCII pass in values (obs-text), as functions do send them. */
const HEAD = new RegExp(
  `^HTTP/1\\.([01]) ([1-5]\\d\\d)(?: ([\\t\\x20-\\x7e\\x80-\\xff]*))?\\r\\n(?:${TOKEN}+:[\\t\\x20-\\x7e\\x80-\\xff]*\\r\\n)*\\r\\n$`,
);

/**
 * @param text one head as latin1, its empty line included
 * @returns `undefined` for what is not HTTP/1
 */
export function parseAnswerHead(text: string): AnswerHead | undefined {
  const match = HEAD.exec(text);
  if (match === null) return undefined;
  return {
    minorVersion: match[1] === "0" ? "0" : "1",
    status: Number(match[2]),
    reason: match[3] ?? "",
    rawHeaders: fieldLines(text, text.indexOf("\r\n") + 2),
  };
}
