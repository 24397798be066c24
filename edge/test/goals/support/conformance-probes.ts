import { answerHeader, type RawAnswer, readAnswers } from "./answers.ts";
import type { Heard } from "./conversation.ts";
import { HOST } from "./framing-corpus.ts";
import { readStream } from "./llhttp-oracle.ts";
import { type Execution, headerOf } from "./recording-upstream.ts";

/** What became of a probe and of the request that follows it on its connection. */
export interface Outcome {
  readonly answers: readonly RawAnswer[];
  /** Those of `answers` that are a function's have one each, in their order; the others `undefined`. */
  readonly executions: readonly (Execution | undefined)[];
  /** Interim answers that came. */
  readonly interim: readonly number[];
  readonly closed: boolean;
  /** Bytes behind the last whole answer. */
  readonly rest: string;
}

/** One requirement on who receives and forwards HTTP/1.1, and whether it is kept. */
export interface Probe {
  readonly level: "MUST" | "SHOULD" | "MAY";
  /** Where it stands, and what it is about. */
  readonly name: string;
  /** Latin1. */
  readonly bytes: string;
  /** What is wrong; `undefined` where nothing is. MAY probes are counted and not scored. */
  readonly check: (outcome: Outcome) => string | undefined;
}

type Check = Probe["check"];

/** Sent behind every probe, and answered where the probe leaves the connection usable. */
export const FOLLOW_UP = `GET /hello/follow HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

/** RFC 9110 (semantics) and RFC 9112 (HTTP/1.1), as far as a gateway can be seen to keep them from outside. */
export function conformanceProbes(): Probe[] {
  return [
    ...hostProbes(),
    ...startLineProbes(),
    ...targetProbes(),
    ...fieldProbes(),
    ...lengthProbes(),
    ...codingProbes(),
    ...chunkProbes(),
    ...connectionProbes(),
    ...forwardingProbes(),
    ...methodProbes(),
    ...answerProbes(),
  ];
}

export function outcomeOf(said: Buffer, heard: Heard, executions: readonly Execution[]): Outcome {
  const methods = readStream(said).requests.map(({ method }) => method);
  const { answers, rest } = readAnswers(heard.received, methods);
  const byNumber = new Map(executions.map((execution) => [String(execution.number), execution]));
  const interim = heard.received.toString("latin1").matchAll(/^HTTP\/1\.1 (1\d\d) /gm);
  return {
    answers,
    executions: answers.map((answer) => byNumber.get(answerHeader(answer, "x-execution") ?? "")),
    interim: [...interim].map(([, status]) => Number(status)),
    closed: heard.closed,
    rest,
  };
}

function must(name: string, bytes: string, check: Check): Probe {
  return { level: "MUST", name, bytes, check };
}

function should(name: string, bytes: string, check: Check): Probe {
  return { level: "SHOULD", name, bytes, check };
}

function may(name: string, bytes: string, check: Check): Probe {
  return { level: "MAY", name, bytes, check };
}

/** Nothing forwarded, one answer with this status, and the connection closed behind it. */
function refused(...statuses: number[]): Check {
  return ({ answers, executions, closed }) => {
    if (executions.some((execution) => execution !== undefined)) return "something was executed";
    if (answers.length !== 1) return `${answers.length} answers`;
    const [{ status } = { status: 0 }] = answers;
    if (!statuses.includes(status)) return `answered ${status}`;
    return closed ? undefined : "left open";
  };
}

/** The probe is executed with this method and body, and the connection is good for the request behind it. */
function served(
  { method, body, target }: { method?: string; body?: string; target?: string } = {},
  more: (execution: Execution, answer: RawAnswer) => string | undefined = () => undefined,
): Check {
  return ({ answers, executions, rest }) => {
    const [answer, follow] = answers;
    const [execution, followed] = executions;
    if (answer === undefined || execution === undefined) return `answered ${answer?.status}, not executed`;
    if (answer.status !== 200) return `answered ${answer.status}`;
    if (method !== undefined && execution.method !== method) return `executed as ${execution.method}`;
    const seen = execution.body.toString("latin1");
    if (body !== undefined && seen !== body) return `a body of ${JSON.stringify(seen)}`;
    if (target !== undefined && execution.target !== target) return `executed at ${execution.target}`;
    if (follow?.status !== 200 || followed?.target !== "/follow")
      return `the next one was answered ${follow?.status}`;
    if (answers.length > 2 || rest !== "") return "something else was answered";
    return more(execution, answer);
  };
}

/** The probe is executed, and its answer is the last on the connection. */
function servedAndClosed(body?: string): Check {
  return ({ answers, executions, closed }) => {
    if (answers[0]?.status !== 200 || executions[0] === undefined) return `answered ${answers[0]?.status}`;
    if (body !== undefined && executions[0].body.toString("latin1") !== body) return "another body";
    if (answers.length > 1) return "answered what stands behind it";
    return closed ? undefined : "left open";
  };
}

function either(...checks: Check[]): Check {
  return (outcome) => {
    const problems = checks.map((check) => check(outcome));
    return problems.includes(undefined) ? undefined : problems.join("; ");
  };
}

/** Served, and the function does not see these names. */
function servedWithout(...names: string[]): Check {
  return served({}, ({ headers }) => {
    const seen = names.filter((name) => headerOf(headers, name) !== undefined);
    return seen.length === 0 ? undefined : `the function sees ${seen.join(", ")}`;
  });
}

/** Served, and the function sees this value. */
function servedWith(name: string, value: string | undefined): Check {
  return served({}, ({ headers }) => {
    const seen = headerOf(headers, name);
    return seen === value ? undefined : `the function sees ${name}: ${seen}`;
  });
}

function get(lines = "", target = "/hello/probe", version = "1.1"): string {
  return `GET ${target} HTTP/${version}\r\n${HOST}${lines}\r\n`;
}

function post(lines: string, body: string): string {
  return `POST /hello/probe HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
}

function chunked(body: string): string {
  return post("Transfer-Encoding: chunked\r\n", body);
}

function withHost(value: string): string {
  return `GET /hello/probe HTTP/1.1\r\nHost: ${value}\r\n\r\n`;
}

function hostProbes(): Probe[] {
  const bad = (name: string, bytes: string): Probe =>
    must(`9112 3.2: ${name} is answered 400`, bytes, refused(400));
  return [
    bad("no Host", "GET /hello/probe HTTP/1.1\r\n\r\n"),
    bad("no Host among others", "GET /hello/probe HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    bad("two Hosts that agree", get(HOST)),
    bad("two Hosts that differ", get("Host: bob.fn.test\r\n")),
    bad("two Hosts apart from each other", get(`Accept: */*\r\n${HOST}`)),
    bad("two Hosts in other case", get("hOST: alice.fn.test\r\n")),
    bad("a Host with a space in it", withHost("alice fn.test")),
    bad("a Host with userinfo", withHost("a@alice.fn.test")),
    bad("a Host with a path", withHost("alice.fn.test/x")),
    bad("a Host with a query", withHost("alice.fn.test?x")),
    bad("a Host with a fragment", withHost("alice.fn.test#x")),
    bad("a list of Hosts", withHost("alice.fn.test, bob.fn.test")),
    bad("a Host with a scheme", withHost("http://alice.fn.test")),
    bad("a Host with a port of letters", withHost("alice.fn.test:http")),
    bad("a Host with a port past 65,535", withHost("alice.fn.test:65536")),
    bad("a Host with a negative port", withHost("alice.fn.test:-80")),
    bad("a Host with a backslash", withHost("alice.fn.test\\x")),
    bad("a Host with angle brackets", withHost("<alice.fn.test>")),
    bad("a Host of an unclosed bracket", withHost("[::1")),
    bad("a Host with a byte past ASCII", withHost("\xe4lice.fn.test")),
    bad("an empty Host where the target has none", withHost("")),
    must("9110 4.2.3: host names are compared without case", withHost("ALICE.Fn.Test"), served()),
    must("9110 7.2: a Host with a port is one", withHost("alice.fn.test:8080"), served()),
    must(
      "9112 5.1: blanks around a Host are none of it",
      "GET /hello/probe HTTP/1.1\r\nHost:\t alice.fn.test \r\n\r\n",
      served(),
    ),
    may("a final dot names the same host", withHost("alice.fn.test."), served()),
  ];
}

function startLineProbes(): Probe[] {
  const line = (text: string, lines = HOST): string => `${text}\r\n${lines}\r\n`;
  return [
    must(
      "9112 2.2: a bare CR behind the method is invalid",
      line("GET\r/hello/probe HTTP/1.1"),
      refused(400),
    ),
    must(
      "9112 2.2: a bare CR behind the target is invalid",
      line("GET /hello/probe\rHTTP/1.1"),
      refused(400, 505),
    ),
    must(
      "9112 2.2: whitespace before the first field is refused",
      `GET /hello/probe HTTP/1.1\r\n ${HOST}\r\n`,
      refused(400),
    ),
    must(
      "9112 2.2: a tab before the first field is refused",
      `GET /hello/probe HTTP/1.1\r\n\t${HOST}\r\n`,
      refused(400),
    ),
    must(
      "9112 2.2: a field in a line of whitespace is not used",
      `GET /hello/probe HTTP/1.1\r\n X: y\r\n${HOST}\r\n`,
      either(refused(400), servedWithout("x")),
    ),
    must(
      "9112 2.3: a version in small letters is none",
      line("GET /hello/probe http/1.1"),
      refused(400, 505),
    ),
    must("9112 2.3: a version without its minor is none", line("GET /hello/probe HTTP/1"), refused(400, 505)),
    must("9112 2.3: a version of two digits is none", line("GET /hello/probe HTTP/1.10"), refused(400, 505)),
    must("9112 2.3: another protocol is none", line("GET /hello/probe ICE/1.1"), refused(400, 505)),
    must(
      "9112 3: a target of 9 KiB is answered 414",
      get("", `/hello/${"x".repeat(9 * 1024)}`),
      refused(414),
    ),
    must(
      "9112 3: a target past the head's bound is answered 414",
      get("", `/hello/${"x".repeat(20 * 1024)}`),
      refused(414),
    ),
    must("9110 2.5: HTTP/1.0 is understood", `GET /hello/probe HTTP/1.0\r\n${HOST}\r\n`, servedAndClosed()),
    should("9112 3: a target of 8,000 bytes is served", get("", `/hello/${"x".repeat(7_993)}`), served()),
    should("9112 2.2: an empty line before the start is passed over", `\r\n${get()}`, served()),
    should("9112 2.2: several empty lines before the start are passed over", `\r\n\r\n${get()}`, served()),
    should("9110 15.6.6: HTTP/2.0 is answered 505", line("GET /hello/probe HTTP/2.0"), refused(505)),
    should("9110 15.6.6: HTTP/3.0 is answered 505", line("GET /hello/probe HTTP/3.0"), refused(505)),
    should(
      "9110 15.6.6: HTTP/0.9 in full is answered 505",
      line("GET /hello/probe HTTP/0.9"),
      refused(400, 505),
    ),
    should("9112 3: no target is refused", line("GET HTTP/1.1"), refused(400)),
    should("9112 3: no method is refused", line("/hello/probe HTTP/1.1"), refused(400)),
    should("9112 3: a space before the method is refused", line(" GET /hello/probe HTTP/1.1"), refused(400)),
    should("9112 3: a space in a target is refused", line("GET /hello/pro be HTTP/1.1"), refused(400)),
    should("9112 3: a start line of HTTP/0.9 is refused", "GET /hello/probe\r\n", refused(400, 505)),
    should(
      "9112 3: a method of separators is refused",
      line("G(E)T /hello/probe HTTP/1.1"),
      refused(400, 501),
    ),
    should("9112 3: a method past ASCII is refused", line("G\xcbT /hello/probe HTTP/1.1"), refused(400, 501)),
    should(
      "9112 3: an unknown method is refused",
      line("FROB /hello/probe HTTP/1.1"),
      refused(400, 405, 501),
    ),
    should(
      "9112 3: a method of 1 KiB is refused",
      line(`${"M".repeat(1024)} /hello/probe HTTP/1.1`),
      refused(400, 501),
    ),
    should(
      "9110 9.1: methods are told apart by case",
      line("get /hello/probe HTTP/1.1"),
      refused(400, 405, 501),
    ),
    should("9112 3: NUL in a target is refused", line("GET /hello/\0 HTTP/1.1"), refused(400)),
    should("9112 3: DEL in a target is refused", line("GET /hello/\x7f HTTP/1.1"), refused(400)),
    should("9112 9.2: a start of NUL is refused", "\0\0\0\0\r\n\r\n", refused(400)),
    should(
      "9112 9.8: TLS on a plain port is refused",
      "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
      refused(400),
    ),
    may("several spaces are one", line("GET  /hello/probe  HTTP/1.1"), either(served(), refused(400))),
    may("a tab is a space", line("GET\t/hello/probe\tHTTP/1.1"), either(served(), refused(400))),
    may(
      "a line feed alone ends the start line",
      `GET /hello/probe HTTP/1.1\n${HOST}\r\n`,
      either(served(), refused(400)),
    ),
    may(
      "a space behind the version is passed over",
      line("GET /hello/probe HTTP/1.1 "),
      either(served(), refused(400, 505)),
    ),
  ];
}

function targetProbes(): Probe[] {
  const at = (target: string, host = "alice.fn.test"): string =>
    `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  return [
    must(
      "9112 3.2.2: an absolute target is understood",
      at("http://alice.fn.test/hello/probe"),
      served({ target: "/probe" }),
    ),
    must(
      "9112 3.2.2: with a query",
      at("http://alice.fn.test/hello/probe?x=y"),
      served({ target: "/probe?x=y" }),
    ),
    must(
      "9110 4.2.3: its scheme and host without case",
      at("HTTP://Alice.FN.test/hello/probe"),
      served({ target: "/probe" }),
    ),
    must("9110 4.2.3: an https one", at("https://alice.fn.test/hello/probe"), served({ target: "/probe" })),
    must("9110 4.2.1: an absolute target without a host is refused", at("http:///hello/probe"), refused(400)),
    must("9110 4.2.1: and one of a port alone", at("http://:80/hello/probe"), refused(400)),
    must(
      "9110 4.2.3: an absolute target without a path is one of the root",
      at("http://alice.fn.test", "alice.fn.test"),
      ({ answers }) =>
        answers[0]?.status === 404 || answers[0]?.status === 200
          ? undefined
          : `answered ${answers[0]?.status}`,
    ),
    must(
      "9112 3.2.1: a query is passed on as it is",
      at("/hello/probe?a=%2F..&b=%00&&"),
      served({ target: "/probe?a=%2F..&b=%00&&" }),
    ),
    must(
      "9112 3.2.1: percent-encoding below the function is passed on as it is",
      at("/hello/a%2Fb%20c"),
      served({ target: "/a%2Fb%20c" }),
    ),
    must(
      "9110 4.2.3: characters of every class are passed on",
      at("/hello/-._~!$&'()*+,;=:@"),
      served({ target: "/-._~!$&'()*+,;=:@" }),
    ),
    should(
      "9110 4.2.4: userinfo in a target is refused",
      at("http://a@alice.fn.test/hello/probe"),
      refused(400),
    ),
    should(
      "9110 4.2.4: userinfo with a password too",
      at("http://a:b@alice.fn.test/hello/probe"),
      refused(400),
    ),
    should("9112 3.2: a fragment in a target is refused", at("/hello/probe#x"), refused(400)),
    should("9112 3.2: an asterisk for a GET is refused", at("*"), refused(400)),
    should("9112 3.2: an authority for a GET is refused", at("alice.fn.test:80"), refused(400)),
    should("9112 3.2: a relative target is refused", at("hello/probe"), refused(400)),
    should("9112 3.2: a query alone is refused", at("?hello"), refused(400)),
    should("9112 3.2: another scheme is refused", at("ftp://alice.fn.test/hello/probe"), refused(400)),
    should("9112 3.2: a backslash is refused", at("/hello\\probe"), refused(400)),
    should("9112 3.2: a target past ASCII is refused", at("/hello/\xfc"), refused(400)),
    should(
      "9112 3.2.2: an absolute target of another host is not served for Host's",
      at("http://bob.fn.test/hello/probe"),
      ({ executions }) => (executions[0] === undefined ? undefined : "executed"),
    ),
    may("OPTIONS of everything", `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, () => undefined),
  ];
}

function fieldProbes(): Probe[] {
  const line = (text: string): string => get(`${text}\r\n`);
  const colon = (name: string, blank: string): Probe =>
    must(`9112 5.1: ${name} before a colon is refused`, line(`X-Probe${blank}: y`), refused(400));
  const value = (name: string, byte: string): Probe =>
    must(
      `9110 5.5: ${name} in a value is refused or replaced`,
      line(`X-Probe: a${byte}b`),
      either(refused(400), servedWith("x-probe", "a b")),
    );
  const name = (what: string, text: string): Probe =>
    should(`9110 5.1: ${what} in a name is refused`, line(`X${text}Probe: y`), refused(400));
  return [
    colon("a space", " "),
    colon("a tab", "\t"),
    colon("several blanks", " \t "),
    must(
      "9112 5.1: a space behind Host is refused",
      "GET /hello/probe HTTP/1.1\r\nHost : alice.fn.test\r\n\r\n",
      refused(400),
    ),
    must(
      "9112 5.1: a space behind Content-Length is refused",
      post("Content-Length : 1\r\n", "x"),
      refused(400),
    ),
    must(
      "9112 5.1: a space behind Transfer-Encoding is refused",
      post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
      refused(400),
    ),
    value("NUL", "\0"),
    value("CR", "\r"),
    value("LF", "\n"),
    value("CR LF and no name", "\r\n"),
    must(
      "9112 5.2: a fold is refused or a space",
      line("X-Probe: a\r\n b"),
      either(refused(400), servedWith("x-probe", "a b")),
    ),
    must(
      "9112 5.2: a fold by a tab is refused or a space",
      line("X-Probe: a\r\n\tb"),
      either(refused(400), servedWith("x-probe", "a b")),
    ),
    must(
      "9112 5.2: a fold in a value for framing is refused",
      post("Content-Length: 1\r\n 0\r\n", "0123456789"),
      refused(400),
    ),
    must(
      "9112 5.2: a fold of nothing is refused or a space",
      line("X-Probe: a\r\n "),
      either(refused(400), servedWith("x-probe", "a")),
    ),
    must(
      "9112 5: blanks around a value are none of it",
      line("X-Probe: \t a \t "),
      servedWith("x-probe", "a"),
    ),
    must("9112 5: no blank before a value is needed", line("X-Probe:a"), servedWith("x-probe", "a")),
    must(
      "9110 5.3: lines of one name keep their order",
      get("X-Probe: 1\r\nX-Other: 2\r\nX-Probe: 3\r\n"),
      served({}, ({ headers }) => {
        const values = headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === "x-probe");
        return values.join() === "1,3" ? undefined : `in the order ${values.join()}`;
      }),
    ),
    must(
      "9110 5.1: unknown fields are passed on",
      line("X-Never-Heard-Of: a"),
      servedWith("x-never-heard-of", "a"),
    ),
    must(
      "9110 5.1: names are compared without case",
      post("CONTENT-LENGTH: 1\r\n", "x"),
      served({ body: "x" }),
    ),
    must(
      "9110 5.5: bytes past ASCII in a value are opaque",
      line("X-Probe: caf\xc3\xa9"),
      servedWith("x-probe", "caf\xc3\xa9"),
    ),
    must("9110 5.5: an empty value is one", line("X-Probe:"), servedWith("x-probe", "")),
    must(
      "9110 5.6.4: quotes and backslashes in a value are its own",
      line('X-Probe: "a\\"b, c"'),
      servedWith("x-probe", '"a\\"b, c"'),
    ),
    must("9112 5: a field line without a colon is refused", line("X-Probe"), refused(400)),
    must("9112 5: a field line without a name is refused", line(": x"), refused(400)),
    name("a space", " "),
    name("a parenthesis", "("),
    name("a comma", ","),
    name("a slash", "/"),
    name("a semicolon", ";"),
    name("an equals sign", "="),
    name("an at sign", "@"),
    name("a bracket", "["),
    name("a quote", '"'),
    name("a brace", "{"),
    name("NUL", "\0"),
    name("a byte past ASCII", "\xe4"),
    name("DEL", "\x7f"),
    should("9110 5.5: a control character in a value is refused", line("X-Probe: a\x01b"), refused(400)),
    should("9110 5.5: DEL in a value is refused", line("X-Probe: a\x7fb"), refused(400)),
    should(
      "9110 5.4: a field of 17 KiB is answered 431",
      line(`X-Probe: ${"x".repeat(17 * 1024)}`),
      refused(431),
    ),
    should("6585 5: 150 lines are answered 431", get("X: y\r\n".repeat(150)), refused(431)),
    should("9110 5.4: a field of 8,000 bytes is served", line(`X-Probe: ${"x".repeat(8_000)}`), served()),
    should("9110 5.4: 90 lines are served", get("X: y\r\n".repeat(90)), served()),
    should("9112 2.2: a line feed alone behind a field is refused", get("X-Probe: a\n"), refused(400)),
    may("an underscore in a name is refused", line("X_Probe: y"), refused(400)),
  ];
}

function lengthProbes(): Probe[] {
  const bad = (name: string, value: string): Probe =>
    must(
      `9112 6.3: ${name} is answered 400 and closed`,
      post(`Content-Length: ${value}\r\n`, "0123456789"),
      refused(400),
    );
  return [
    must(
      "9112 6.3: a body is as long as Content-Length says",
      post("Content-Length: 10\r\n", "0123456789"),
      served({ body: "0123456789" }),
    ),
    must("9112 6.3: a body of nothing", post("Content-Length: 0\r\n", ""), served({ body: "" })),
    must("9112 6.3: no length and no coding is no body", post("", ""), served({ body: "" })),
    must(
      "9112 6.3: a GET with a length has a body",
      get("Content-Length: 2\r\n").concat("xy"),
      served({ body: "xy" }),
    ),
    must(
      "9112 6.3: a DELETE with a length has a body",
      `DELETE /hello/probe HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nxy`,
      served({ body: "xy" }),
    ),
    must(
      "9112 6.3: a HEAD with a length has a body",
      `HEAD /hello/probe HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nxy`,
      served({ body: "xy" }),
    ),
    must(
      "9112 2.2: a body is bytes, whatever they look like",
      post("Content-Length: 8\r\n", "\0\r\n\r\n\xff\n0"),
      served({ body: "\0\r\n\r\n\xff\n0" }),
    ),
    must(
      "9112 6.3: a body that looks like a request is a body",
      post(`Content-Length: ${get().length}\r\n`, get()),
      served({ body: get() }),
    ),
    bad("a length with a sign", "+10"),
    bad("a negative length", "-10"),
    bad("a length in hexadecimal", "0xa"),
    bad("a length with letters behind", "10a"),
    bad("a length with a space in it", "1 0"),
    bad("a length with a fraction", "10.0"),
    bad("a length with an exponent", "1e1"),
    bad("a list of lengths that differ", "10, 11"),
    bad("an empty length", ""),
    bad("a length in quotes", '"10"'),
    bad("a length in other digits", "\xd9\xa1\xd9\xa0"),
    must(
      "9112 6.3: two lengths that differ are answered 400",
      post("Content-Length: 10\r\nContent-Length: 11\r\n", "0123456789"),
      refused(400),
    ),
    must(
      "9110 8.6: a length past 2^64 is no small one",
      post("Content-Length: 18446744073709551626\r\n", "0123456789"),
      refused(400, 413),
    ),
    must(
      "9110 8.6: a length past 2^32 is no small one",
      post("Content-Length: 4294967306\r\n", "0123456789"),
      refused(400, 413),
    ),
    must(
      "9110 8.6: a length of 40 digits is no small one",
      post(`Content-Length: ${"9".repeat(40)}\r\n`, "0123456789"),
      refused(400, 413),
    ),
    should(
      "9110 15.5.14: a length past what is allowed is answered 413",
      post("Content-Length: 99999999\r\n", "0123456789"),
      refused(413),
    ),
    may(
      "two lengths that agree are one",
      post("Content-Length: 10\r\nContent-Length: 10\r\n", "0123456789"),
      either(served({ body: "0123456789" }), refused(400)),
    ),
    may(
      "a list of lengths that agree is one",
      post("Content-Length: 10, 10\r\n", "0123456789"),
      either(served({ body: "0123456789" }), refused(400)),
    ),
    may(
      "a length with zeros before it",
      post("Content-Length: 0010\r\n", "0123456789"),
      either(served({ body: "0123456789" }), refused(400)),
    ),
  ];
}

function codingProbes(): Probe[] {
  const coded = (lines: string): string => post(lines, "a\r\n0123456789\r\n0\r\n\r\n");
  const last = (name: string, value: string): Probe =>
    must(
      `9112 6.3: ${name} is answered 400 and closed`,
      coded(`Transfer-Encoding: ${value}\r\n`),
      refused(400),
    );
  return [
    must(
      "9112 7.1: chunked is understood",
      coded("Transfer-Encoding: chunked\r\n"),
      served({ body: "0123456789" }),
    ),
    must(
      "9112 7: codings are compared without case",
      coded("Transfer-Encoding: Chunked\r\n"),
      served({ body: "0123456789" }),
    ),
    must("9112 7: in capitals", coded("Transfer-Encoding: CHUNKED\r\n"), served({ body: "0123456789" })),
    must(
      "9112 5: blanks around a coding are none of it",
      coded("Transfer-Encoding: \tchunked \r\n"),
      served({ body: "0123456789" }),
    ),
    last("chunked before another coding", "chunked, gzip"),
    last("chunked before identity", "chunked, identity"),
    must(
      "9112 6.3: a coding that is not chunked is answered 400 or 501",
      coded("Transfer-Encoding: gzip\r\n"),
      refused(400, 501),
    ),
    must("9112 6.3: identity is not chunked", coded("Transfer-Encoding: identity\r\n"), refused(400, 501)),
    must(
      "9112 6.1: chunked twice in one line is refused",
      coded("Transfer-Encoding: chunked, chunked\r\n"),
      refused(400),
    ),
    must(
      "9112 6.1: chunked twice in two lines is refused",
      coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
      refused(400),
    ),
    must(
      "9112 6.1: chunked on HTTP/1.0 ends the connection",
      `POST /hello/probe HTTP/1.0\r\n${HOST}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      either(refused(400), servedAndClosed()),
    ),
    must(
      "9112 6.1: a length beside chunked ends the connection",
      coded("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
      either(refused(400), servedAndClosed("0123456789")),
    ),
    must(
      "9112 6.1: and in the other order",
      coded("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
      either(refused(400), servedAndClosed("0123456789")),
    ),
    must(
      "9112 6.3: and the length is not passed on",
      coded("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
      ({ executions }) =>
        headerOf(executions[0]?.headers ?? [], "content-length") === undefined ? undefined : "passed on",
    ),
    should(
      "9112 6.1: an unknown coding is answered 501 or 400",
      coded("Transfer-Encoding: pigeon, chunked\r\n"),
      refused(400, 501),
    ),
    should(
      "9112 6.1: a quoted coding is refused",
      coded('Transfer-Encoding: "chunked"\r\n'),
      refused(400, 501),
    ),
    should("9112 6.1: an empty coding is refused", coded("Transfer-Encoding:\r\n"), refused(400)),
    should(
      "9112 7: chunked with a parameter is refused",
      coded("Transfer-Encoding: chunked;x=y\r\n"),
      refused(400, 501),
    ),
    may(
      "an empty element before chunked",
      coded("Transfer-Encoding: , chunked\r\n"),
      either(served(), refused(400)),
    ),
  ];
}

function chunkProbes(): Probe[] {
  const END = "0\r\n\r\n";
  const bad = (name: string, body: string): Probe =>
    should(`9112 7.1: ${name} is refused`, chunked(body), brokenBody);
  return [
    must(
      "9112 7.1: several chunks are one body",
      chunked(`3\r\nabc\r\n2\r\nde\r\n${END}`),
      served({ body: "abcde" }),
    ),
    must("9112 7.1: a body of no chunk", chunked(END), served({ body: "" })),
    must(
      "9112 7.1: a size in capitals",
      chunked(`A\r\n0123456789\r\n${END}`),
      served({ body: "0123456789" }),
    ),
    must(
      "9112 7.1: a size with zeros before it",
      chunked(`00a\r\n0123456789\r\n${END}`),
      served({ body: "0123456789" }),
    ),
    must(
      "9112 7.1: a last chunk of several zeros",
      chunked("3\r\nabc\r\n000\r\n\r\n"),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1: data that looks like an end is data",
      chunked(`7\r\n\r\n0\r\n\r\n\r\n${END}`),
      served({ body: "\r\n0\r\n\r\n" }),
    ),
    must(
      "9112 7.1.1: an unknown extension is ignored",
      chunked(`3;x=y\r\nabc\r\n${END}`),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1.1: an extension without a value is ignored",
      chunked(`3;x\r\nabc\r\n${END}`),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1.1: a quoted extension is ignored",
      chunked(`3;x="y;z"\r\nabc\r\n${END}`),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1.1: several extensions are ignored",
      chunked(`3;x=y;z\r\nabc\r\n${END}`),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1.1: an extension of the last chunk is ignored",
      chunked("3\r\nabc\r\n0;x=y\r\n\r\n"),
      served({ body: "abc" }),
    ),
    must(
      "9112 7.1: a size past 2^64 is no small one",
      chunked(`1000000000000000a\r\n0123456789\r\n${END}`),
      brokenBody,
    ),
    must(
      "9112 7.1.2: trailers end a body",
      chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
      served({ body: "abc" }),
    ),
    must(
      "9110 6.5.1: a trailer is no header",
      chunked("3\r\nabc\r\n0\r\nX-Probe: 1\r\n\r\n"),
      servedWithout("x-probe"),
    ),
    must(
      "9110 6.5.1: a trailer frames nothing",
      chunked("3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"),
      either(served({ body: "abc" }), brokenBody),
    ),
    must(
      "9110 6.5.1: a trailer authenticates nobody",
      chunked("3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n"),
      servedWithout("authorization"),
    ),
    must(
      "9112 7.1.3: what is passed on has one framing",
      chunked(`3\r\nabc\r\n${END}`),
      served({}, ({ framing }) => (framing.length === 1 ? undefined : `framed by ${framing.join()}`)),
    ),
    bad("a size of no digits", "x\r\nabc\r\n0\r\n\r\n"),
    bad("an empty size", "\r\nabc\r\n0\r\n\r\n"),
    bad("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
    bad("a negative size", "-3\r\nabc\r\n0\r\n\r\n"),
    bad("a size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
    bad("a size with an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
    bad("a chunk that is longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
    bad("a chunk that is shorter than its size", "3\r\nab\r\n0\r\n\r\n"),
    bad("a chunk without an end of line", "3\r\nabc0\r\n\r\n"),
    bad("a size line ended by a line feed", "3\nabc\r\n0\r\n\r\n"),
    bad("a size line ended by CR", "3\rabc\r\n0\r\n\r\n"),
    bad("a chunk ended by a line feed", "3\r\nabc\n0\r\n\r\n"),
    bad("a NUL in an extension", "3;\0\r\nabc\r\n0\r\n\r\n"),
    bad("an extension of 20 KiB", `3;${"x".repeat(20 * 1024)}\r\nabc\r\n0\r\n\r\n`),
    bad("a trailer without a colon", "3\r\nabc\r\n0\r\nX\r\n\r\n"),
    may(
      "blanks around an extension",
      chunked(`3 ; x = y\r\nabc\r\n${END}`),
      either(served({ body: "abc" }), brokenBody),
    ),
  ];
}

/** Found while the request may have begun upstream already: nothing whole is executed, and the connection is closed. */
const brokenBody: Check = ({ answers, executions, closed }) => {
  if (executions.some((execution) => execution !== undefined)) return "executed";
  if (answers.length > 1) return `${answers.length} answers`;
  if ((answers[0]?.status ?? 400) >= 500) return `answered ${answers[0]?.status}`;
  return closed ? undefined : "left open";
};

function connectionProbes(): Probe[] {
  const close = (name: string, lines: string): Probe =>
    must(`9112 9.6: ${name} is the last`, get(lines), servedAndClosed());
  const behind = `${get("", "/hello/2")}${get("", "/hello/3")}`;
  return [
    must("9112 9.3: HTTP/1.1 goes on by itself", get(), served()),
    must("9112 9.3: keep-alive changes nothing", get("Connection: keep-alive\r\n"), served()),
    close("a request with close", "Connection: close\r\n"),
    close("a request with close in capitals", "Connection: CLOSE\r\n"),
    close("a request with close among others", "Connection: x, close\r\n"),
    close("a request with close among nothing", "Connection: , ,close,\r\n"),
    close("a request with close in a second line", "Connection: keep-alive\r\nConnection: close\r\n"),
    must("9112 9.6: an answer that closes says so", get("Connection: close\r\n"), ({ answers: [answer] }) =>
      answer !== undefined && answerHeader(answer, "connection")?.toLowerCase() === "close"
        ? undefined
        : "it does not",
    ),
    must("9112 9.6: a refusal that closes says so", get("X : y\r\n"), ({ answers: [answer] }) =>
      answer !== undefined && answerHeader(answer, "connection")?.toLowerCase() === "close"
        ? undefined
        : "it does not",
    ),
    must("9112 9.3: HTTP/1.0 ends by itself", `GET /hello/probe HTTP/1.0\r\n${HOST}\r\n`, servedAndClosed()),
    must(
      "9112 9.3.2: requests in a row are answered in their order",
      `${get("", "/hello/1")}${behind}`,
      ({ executions }) => {
        const order = executions.map((execution) => execution?.target).join();
        return order === "/1,/2,/3,/follow" ? undefined : `in the order ${order}`;
      },
    ),
    must(
      "9112 9.3.2: with bodies between them",
      `${post("Content-Length: 3\r\n", "abc")}${chunked("3\r\nabc\r\n0\r\n\r\n")}${get()}`,
      ({ executions }) => {
        const bodies = executions.map((execution) => execution?.body.toString()).join();
        return bodies === "abc,abc,," ? undefined : `bodies ${bodies}`;
      },
    ),
    must(
      "9112 9.3.2: a refusal keeps its place behind good ones",
      `${get("", "/hello/1")}${get("X : y\r\n")}`,
      ({ answers }) => {
        const statuses = answers.map(({ status }) => status).join();
        return statuses === "200,400" ? undefined : `answered ${statuses}`;
      },
    ),
    must(
      "9110 7.8: Upgrade in HTTP/1.0 is ignored",
      `GET /hello/probe HTTP/1.0\r\n${HOST}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`,
      servedAndClosed(),
    ),
    must(
      "9110 7.8: an unknown protocol is not switched to",
      get("Connection: upgrade\r\nUpgrade: x/1\r\n"),
      ({ answers }) => (answers[0]?.status === 200 ? undefined : `answered ${answers[0]?.status}`),
    ),
    should(
      "9112 9.3: HTTP/1.0 with keep-alive may go on",
      `GET /hello/probe HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`,
      either(served(), servedAndClosed()),
    ),
    may(
      "nothing is switched to h2c",
      get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
      () => undefined,
    ),
  ];
}

function forwardingProbes(): Probe[] {
  const gone = (name: string, lines: string, ...names: string[]): Probe =>
    must(`9110 7.6.1: ${name}`, get(lines), servedWithout(...names));
  return [
    gone("what Connection names stays here", "Connection: X-Probe\r\nX-Probe: 1\r\n", "x-probe"),
    gone("whatever its case", "Connection: x-PROBE\r\nX-Probe: 1\r\n", "x-probe"),
    gone("all of several", "Connection: X-One, X-Two\r\nX-One: 1\r\nX-Two: 2\r\n", "x-one", "x-two"),
    gone(
      "those of a second line",
      "Connection: X-One\r\nConnection: X-Two\r\nX-One: 1\r\nX-Two: 2\r\n",
      "x-one",
      "x-two",
    ),
    gone("those that stand before it", "X-Probe: 1\r\nConnection: X-Probe\r\n", "x-probe"),
    gone("TE stays here", "TE: trailers\r\nConnection: TE\r\n", "te"),
    must(
      "9110 7.6.1: Connection itself is not passed on",
      get("Connection: X-Probe\r\nX-Probe: 1\r\n"),
      served({}, ({ headers }) =>
        (headerOf(headers, "connection") ?? "").toLowerCase().includes("x-probe") ? "passed on" : undefined,
      ),
    ),
    must(
      "9110 7.6.3: Via says by what way it came",
      get(),
      served({}, ({ headers }) =>
        /^1\.1 \S+/.test(headerOf(headers, "via") ?? "") ? undefined : `Via: ${headerOf(headers, "via")}`,
      ),
    ),
    must(
      "9110 7.6.3: behind what others said",
      get("Via: 1.0 somebody\r\n"),
      served({}, ({ headers }) => {
        const vias = headers
          .filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === "via")
          .join(", ");
        return /^1\.0 somebody, 1\.1 \S+$/.test(vias) ? undefined : `Via: ${vias}`;
      }),
    ),
    must(
      "9110 2.5: what is passed on has our own version",
      `GET /hello/probe HTTP/1.0\r\n${HOST}\r\n`,
      ({ answers }) => (answers[0]?.version === "1.1" ? undefined : `answered as ${answers[0]?.version}`),
    ),
    must(
      "9110 7.6.2: OPTIONS with Max-Forwards: 0 goes no further",
      `OPTIONS /hello/probe HTTP/1.1\r\n${HOST}Max-Forwards: 0\r\n\r\n`,
      ({ answers, executions }) =>
        executions[0] === undefined && (answers[0]?.status ?? 0) < 300
          ? undefined
          : `answered ${answers[0]?.status}`,
    ),
    must(
      "9110 7.6.2: OPTIONS with Max-Forwards: 5 goes on with 4",
      `OPTIONS /hello/probe HTTP/1.1\r\n${HOST}Max-Forwards: 5\r\n\r\n`,
      servedWith("max-forwards", "4"),
    ),
    must(
      "9110 11.7.2: Proxy-Authorization is for us",
      get("Proxy-Authorization: Basic x\r\n"),
      servedWithout("proxy-authorization"),
    ),
    must(
      "9110 10.1.1: an expectation in HTTP/1.0 is ignored",
      `POST /hello/probe HTTP/1.0\r\n${HOST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx`,
      ({ interim, answers }) =>
        interim.length === 0 && answers[0]?.status === 200
          ? undefined
          : `answered ${[...interim, answers[0]?.status].join()}`,
    ),
    must(
      "9110 10.1.1: 100-continue is answered",
      post("Expect: 100-continue\r\nContent-Length: 1\r\n", "x"),
      ({ interim, answers }) =>
        interim.every((status) => status === 100) && answers[0]?.status === 200
          ? undefined
          : `answered ${interim.join()}, ${answers[0]?.status}`,
    ),
    should(
      "9110 7.6.1: Proxy-Connection stays here",
      get("Proxy-Connection: keep-alive\r\n"),
      servedWithout("proxy-connection"),
    ),
    should(
      "9110 7.6.1: Keep-Alive stays here",
      get("Keep-Alive: timeout=5\r\n"),
      servedWithout("keep-alive"),
    ),
    should(
      "9110 7.6.1: Upgrade stays here",
      get("Connection: upgrade\r\nUpgrade: x/1\r\n"),
      ({ executions: [execution] }) =>
        execution !== undefined && headerOf(execution.headers, "upgrade") === undefined
          ? undefined
          : "passed on",
    ),
    should("9110 7.6.1: TE stays here whoever names it", get("TE: trailers\r\n"), servedWithout("te")),
    may("an unknown expectation", post("Expect: coffee\r\nContent-Length: 1\r\n", "x"), ({ answers }) =>
      [200, 417].includes(answers[0]?.status ?? 0) ? undefined : `answered ${answers[0]?.status}`,
    ),
  ];
}

function methodProbes(): Probe[] {
  const request = (method: string): string => `${method} /hello/probe HTTP/1.1\r\n${HOST}\r\n`;
  const HEAD_CHECK = served({ method: "HEAD" }, (_, { body }) => (body === "" ? undefined : "a body"));
  return [
    must("9110 9.1: GET is served", request("GET"), served({ method: "GET" })),
    must("9110 9.1: HEAD is served", request("HEAD"), served({ method: "HEAD" })),
    must("9110 9.3.2: an answer to HEAD has no body", request("HEAD"), HEAD_CHECK),
    must(
      "9110 9.3.2: nor has a refusal",
      `HEAD /hello/probe HTTP/1.1\r\n${HOST}X_Y: z\r\n\r\n`,
      ({ answers: [answer], rest }) =>
        answer?.status === 400 && answer.body === "" && rest === ""
          ? undefined
          : `${answer?.status}, ${rest.length} bytes behind`,
    ),
    must(
      "9110 9.3.2: nor has a 404",
      `HEAD /nobody/probe HTTP/1.1\r\n${HOST}\r\n`,
      ({ answers: [answer, follow] }) =>
        answer?.status === 404 && answer.body === "" && follow?.status === 200
          ? undefined
          : `${answer?.status}, ${follow?.status}`,
    ),
    must("9110 15.5.6: 405 says what is allowed", request("TRACE"), ({ answers: [answer] }) =>
      answer?.status !== 405 || answerHeader(answer, "allow") !== undefined ? undefined : "it does not",
    ),
    must(
      "9110 9.3.6: CONNECT opens nothing",
      `CONNECT alice.fn.test:80 HTTP/1.1\r\n${HOST}\r\n`,
      ({ answers: [answer], executions }) =>
        answer !== undefined && answer.status >= 400 && executions[0] === undefined
          ? undefined
          : `answered ${answer?.status}`,
    ),
    ...["POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map((method) =>
      should(`9110 9.1: ${method} is served`, request(method), served({ method })),
    ),
    should(
      "9110 9.3.8: TRACE is not answered with what was sent",
      `TRACE /hello/probe HTTP/1.1\r\n${HOST}Cookie: secret\r\n\r\n`,
      ({ answers: [answer] }) =>
        answer?.status === 405 && !answer.body.includes("secret") ? undefined : `answered ${answer?.status}`,
    ),
  ];
}

function answerProbes(): Probe[] {
  const dated = (name: string, bytes: string): Probe =>
    must(`9110 6.6.1: ${name} is dated`, bytes, ({ answers: [answer] }) => {
      const date = answer === undefined ? undefined : answerHeader(answer, "date");
      return date !== undefined && date === new Date(date).toUTCString() ? undefined : `Date: ${date}`;
    });
  return [
    dated("an answer", get()),
    dated("a 404", get("", "/nobody")),
    dated("a 400 of ours", get("X_Y: z\r\n")),
    dated("a 400 to what is no request", get("X : y\r\n")),
    dated("a 431", get(`X: ${"y".repeat(17 * 1024)}\r\n`)),
    dated("a 405", `TRACE /hello HTTP/1.1\r\n${HOST}\r\n`),
    must(
      "9112 6.1: an answer to HTTP/1.0 is not chunked",
      `GET /nobody HTTP/1.0\r\n${HOST}\r\n`,
      ({ answers: [answer] }) =>
        answer !== undefined && answerHeader(answer, "transfer-encoding") === undefined ? undefined : "it is",
    ),
  ];
}
