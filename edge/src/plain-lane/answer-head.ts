import { AnswerReader, MAX_ANSWER_LINES, withoutNames } from "../answer-fields.ts";
import type { Domains } from "../config.ts";
import { fieldKind } from "../field-kinds.ts";
import { fieldLines, TOKEN, trimBlanks } from "./header-lines.ts";

/** The head of an upstream's answer. */
export interface AnswerHead {
  readonly minorVersion: "0" | "1";
  readonly status: number;
  readonly reason: string;
  readonly fields: AnswerReader;
  /** The lines that the client is sent as they came, each with its CRLF. */
  readonly passed: string;
  /** The whole head. */
  readonly text: string;
}

/** RFC 9112 §4 and §5, without obsolete folding. Bytes above ASCII pass in values (obs-text), as functions do send them. */
const HEAD = new RegExp(
  `^HTTP/1\\.([01]) ([1-5]\\d\\d)(?: ([\\t\\x20-\\x7e\\x80-\\xff]*))?\\r\\n(?:${TOKEN}+:[\\t\\x20-\\x7e\\x80-\\xff]*\\r\\n)*\\r\\n$`,
);

/**
 * @param text one head as latin1, its empty line included
 * @param domains given where a function answers
 * @returns `undefined` for what is not HTTP/1, or is framed so that it cannot be believed
 */
export function parseAnswerHead(text: string, domains: Domains | undefined): AnswerHead | undefined {
  const match = HEAD.exec(text);
  if (match === null) return undefined;
  const fields = new AnswerReader(domains);
  let passed = "";
  /** Where lines begin that pass and follow each other: they are taken as one. */
  let runAt = text.indexOf("\r\n") + 2;
  let lines = 0;
  for (let at = runAt; at < text.length - 2; lines++) {
    const colon = text.indexOf(":", at);
    const next = text.indexOf("\r\n", colon) + 2;
    const kind = fieldKind(text.slice(at, colon));
    if (kind !== "end-to-end" && !fields.read(kind, trimBlanks(text, colon + 1, next - 2))) {
      if (at > runAt) passed += text.slice(runAt, at);
      runAt = next;
    }
    at = next;
  }
  if (text.length - 2 > runAt) passed += text.slice(runAt, text.length - 2);
  if (lines > MAX_ANSWER_LINES || !fields.isWhole) return undefined;
  return {
    minorVersion: match[1] === "0" ? "0" : "1",
    status: Number(match[2]),
    reason: match[3] ?? "",
    text,
    fields,
    passed: fields.hopNames.size === 0 ? passed : withoutLines(passed, fields.hopNames),
  };
}

function withoutLines(passed: string, names: ReadonlySet<string>): string {
  const lines = withoutNames(fieldLines(`${passed}\r\n`, 0), names);
  let kept = "";
  for (let i = 0; i < lines.length; i += 2) kept += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return kept;
}
