/** Bytes that readers of HTTP are known to disagree on. Texts are latin1: a character is a byte. */
export interface FramingItem {
  /** What it tries, unique in the corpus. */
  readonly name: string;
  /** Items of one kind cost about the same. */
  readonly kind: string;
  readonly bytes: string;
  /** Rightly left without an answer: it announces more than ever comes. */
  readonly waits?: true;
}

export const HOST = "Host: alice.fn.test\r\n";
/** Never to be executed unless a standard reader reads it as a request of its own. */
const SMUGGLED = `GET /hello/smuggled HTTP/1.1\r\n${HOST}\r\n`;
const LAST_CHUNK = "0\r\n\r\n";

/** The whole corpus but the conformance probes, which have outcomes of their own. */
export function framingCorpus(): FramingItem[] {
  return [...transferEncodingItems(), ...knownDisagreements(), ...invalidExamples()];
}

/** Each mutation of `Transfer-Encoding: chunked` before a body that ends elsewhere by its length: after it, and before it. */
export function transferEncodingItems(): FramingItem[] {
  const chunk = `${SMUGGLED.length.toString(16)}\r\n`;
  return transferEncodingMutations().flatMap((lines) => [
    {
      name: `CL.TE ${JSON.stringify(lines)}`,
      kind: "transfer-encoding, length covers all",
      bytes: post(
        `Content-Length: ${LAST_CHUNK.length + SMUGGLED.length}\r\n${lines}`,
        LAST_CHUNK + SMUGGLED,
      ),
    },
    {
      name: `TE.CL ${JSON.stringify(lines)}`,
      kind: "transfer-encoding, length covers a part",
      bytes: post(`Content-Length: ${chunk.length}\r\n${lines}`, `${chunk}${SMUGGLED}\r\n${LAST_CHUNK}`),
    },
  ]);
}

/** Header lines, each one or more with their ends, all different. */
export function transferEncodingMutations(): string[] {
  const lines = new Set<string>();
  const add = (line: string): void => void lines.add(`${line}\r\n`);
  for (let code = 0; code < 256; code++) {
    const byte = String.fromCharCode(code);
    add(`${byte}Transfer-Encoding: chunked`);
    add(`Transfer-Encoding${byte}: chunked`);
    add(`Transfer${byte}Encoding: chunked`);
    add(`Transfer-Encoding:${byte}chunked`);
    add(`Transfer-Encoding: chunked${byte}`);
    add(`Transfer-Encoding: chun${byte}ked`);
  }
  for (const first of BLANKS) {
    for (const second of BLANKS) {
      add(`Transfer-Encoding:${first}${second}chunked`);
      add(`Transfer-Encoding: chunked${first}${second}`);
      add(`Transfer-Encoding${first}${second}: chunked`);
    }
    for (const end of ["\r\n", "\n", "\r"]) {
      add(`Transfer-Encoding:${end}${first}chunked`);
      add(`Transfer-Encoding: chunked${end}${first}x`);
      add(`X: y${end}${first}Transfer-Encoding: chunked`);
      add(`Transfer-${end}${first}Encoding: chunked`);
    }
  }
  for (const name of NAMES) add(`${name}: chunked`);
  for (const value of CODINGS) {
    add(`Transfer-Encoding: ${value}`);
    add(`Transfer-Encoding: chunked\r\nTransfer-Encoding: ${value}`);
    add(`Transfer-Encoding: ${value}\r\nTransfer-Encoding: chunked`);
    add(`Transfer-Encoding: ${value}, chunked`);
    add(`Transfer-Encoding: chunked, ${value}`);
  }
  return [...lines];
}

const BLANKS = ["", " ", "\t", "\v", "\f", "\0", "\x1f", "\x85", "\xa0"];

const NAMES = [
  "transfer-encoding",
  "TRANSFER-ENCODING",
  "tRANSFER-eNCODING",
  "TransferEncoding",
  "Transfer--Encoding",
  "Transfer - Encoding",
  "-Transfer-Encoding",
  "Transfer-Encoding-",
  "X-Transfer-Encoding",
  "Content-Transfer-Encoding",
  "HTTP_TRANSFER_ENCODING",
  "Transfer_Encoding",
  "Transfer-Encodings",
  "Transfer-Encodin",
  "Transfer-Encoding\r",
  "Transfer-Encoding\0",
  '"Transfer-Encoding"',
  "Transfer%2DEncoding",
  "Transfer\xe2\x80\x90Encoding",
  "\xef\xbb\xbfTransfer-Encoding",
  "TE",
  "X: y\nTransfer-Encoding",
  "X: y\rTransfer-Encoding",
  "X: y\r\r\nTransfer-Encoding",
  "X: y\n\rTransfer-Encoding",
  "X\r\nTransfer-Encoding",
  ": \r\nTransfer-Encoding",
  ":\r\nTransfer-Encoding",
];

const CODINGS = [
  "",
  ",",
  "Chunked",
  "CHUNKED",
  "chunKed",
  '"chunked"',
  "'chunked'",
  "`chunked`",
  "<chunked>",
  "(chunked)",
  "[chunked]",
  "{chunked}",
  "chunked;",
  "chunked;q=1",
  "chunked; foo=bar",
  "chunked ;",
  "chunked=chunked",
  "chunked,",
  "chunked,,",
  ",chunked",
  ",,chunked",
  ", chunked",
  "chunked chunked",
  "chunked/1",
  "chunk",
  "chunkedd",
  "xchunked",
  "x-chunked",
  "identity",
  "gzip",
  "deflate",
  "compress",
  "trailers",
  "null",
  "0",
  "cow",
  "%63hunked",
  "\\chunked",
  "=?utf-8?q?chunked?=",
  "chunked\r\n ",
  "chunked\n",
  "chunked\r",
  "\nchunked",
  "\rchunked",
  "c\u017dhunked",
  "\xc3\xa7hunked",
  "chunked\x00garbage",
  "garbage\x00chunked",
];

/**
 * Places where servers and proxies were found to part ways (the classes of the HTTP Garden's list, in bytes of our own):
 * each is a reading that somebody had and that the edge must neither have nor pass on.
 */
export function knownDisagreements(): FramingItem[] {
  const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
  const header = (line: string): string => `GET /hello/garden HTTP/1.1\r\n${HOST}${line}\r\n\r\n`;
  const start = (line: string): string => `${line}\r\n${HOST}\r\n`;
  const length = (value: string, body = "0123456789"): string => post(`Content-Length: ${value}\r\n`, body);
  const items: Record<string, string> = {
    "a chunk size with an underscore": chunked(`0_a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size with 0x": chunked(`0xa\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size with a plus": chunked(`+a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size with a minus": chunked(`-a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size of minus nothing": chunked("-0\r\n\r\n"),
    "a chunk size behind a space": chunked(` a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size before a space": chunked(`a \r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size behind a vertical tab": chunked(`\va\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size with a bad end": chunked(`az\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size that is none": chunked(`zz\r\n0123456789\r\n${LAST_CHUNK}`),
    "no chunk size": chunked(`\r\n0123456789\r\n${LAST_CHUNK}`),
    "an empty chunk size as the last": chunked("a\r\n0123456789\r\n\r\n\r\n"),
    "a chunk size of 2^64 + 10": chunked(`1000000000000000a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk size of 40 digits": chunked(`${"0".repeat(39)}a\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk line ended by a line feed": chunked(`a\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk line ended by a carriage return": chunked(`a\r0123456789\r\n${LAST_CHUNK}`),
    "a chunk line ended by CR and another byte": chunked(`a\rX0123456789\r\n${LAST_CHUNK}`),
    "a chunk that runs on": chunked(`5\r\n0123456789\r\n${LAST_CHUNK}`),
    "a chunk ended by two other bytes": chunked(`a\r\n0123456789XX${LAST_CHUNK}`),
    "a chunk ended by a line feed": chunked(`a\r\n0123456789\n${LAST_CHUNK}`),
    "a chunk ended by nothing": chunked(`a\r\n0123456789${LAST_CHUNK}`),
    "a last chunk ended by two other bytes": chunked("0\r\nXX"),
    "a last chunk ended by CR CR": chunked("0\r\n\r\r"),
    "an extension with a carriage return": chunked(`a;\rx\r\n0123456789\r\n${LAST_CHUNK}`),
    "an extension with a carriage return before it": chunked(`a\r;x\r\n0123456789\r\n${LAST_CHUNK}`),
    "an extension with a line feed": chunked(`a;\nx\r\n0123456789\r\n${LAST_CHUNK}`),
    "an extension with a line feed and a second size": chunked(`2;\n0a\r\n01\r\n${LAST_CHUNK}${SMUGGLED}`),
    "an extension with NUL": chunked(`a;x\0\r\n0123456789\r\n${LAST_CHUNK}`),
    "an extension without a semicolon": chunked(`a x\r\n0123456789\r\n${LAST_CHUNK}`),
    "trailers that frame": chunked("0\r\nContent-Length: 9\r\n\r\n"),
    "trailers without a colon": chunked("0\r\nx\r\n\r\n"),
    "trailers with a space before the colon": chunked("0\r\nx : y\r\n\r\n"),
    "trailers ended by a line feed": chunked("0\r\nx: y\n\n"),
    "trailers that smuggle": chunked(`0\r\n${SMUGGLED}`),
    "a value with NUL": header("X: a\0b"),
    "a value with a carriage return": header("X: a\rb"),
    "a value with a line feed": header("X: a\nb"),
    "a value ended by NUL": header("X: a\0"),
    "a value behind other blanks": header("X:\v\fa"),
    "a line ended by a carriage return, another in it": header("Visible: a\rSmuggled: b"),
    "a name with a space behind": header("Content-Length : 0"),
    "a name with a tab behind": header("Content-Length\t: 0"),
    "a name with a space before": `GET /hello/garden HTTP/1.1\r\n Content-Length: 1\r\n${HOST}\r\nX`,
    "a name with a tab before": `GET /hello/garden HTTP/1.1\r\n\tContent-Length: 1\r\n${HOST}\r\nX`,
    "a name with 0xa0 behind": header("Content-Length\xa0: 0"),
    "a name with 0x85 behind": header("Content-Length\x85: 0"),
    "a name with 0xef before": header("\xefX: 1"),
    "a name of what no name may hold": header('\x01\x02"(),/;<=>?@[]{}: 1'),
    "a name that goes on in the next line": header("Content-\r\n Length: 1"),
    "no name": header(": 1"),
    "no name and no value": header(":"),
    "no name, no value, and a length behind": post(":\r\nContent-Length: 10\r\n", "0123456789"),
    "no colon": header("X"),
    "no colon but a space": header("X y"),
    "no colon, a length behind": post("X\r\nContent-Length: 10\r\n", "0123456789"),
    "a head ended by CR LF CR and another byte": `GET /hello/garden HTTP/1.1\r\n${HOST}\r\n\rX`,
    "a version with more digits": start("GET /hello/garden HTTP/1.32"),
    "a version that overflows a byte": start("GET /hello/garden HTTP/1.257"),
    "a version with carriage returns": start("GET /hello/garden HTTP/\r\r1.1"),
    "a version with letters": start("GET /hello/garden HTTP/one.one"),
    "a method of what no method may hold": start('G=":<>(e),[T];?" /hello/garden HTTP/1.1'),
    "a method and more": start("GETX /hello/garden HTTP/1.1"),
    "a target that is none": start("GET ! HTTP/1.1"),
    "a line feed for a space": start("GET /hello/garden\nHTTP/1.1"),
    "a length with a plus and an underscore": length("+1_0"),
    "a length with 0x": length("0xa"),
    "a length in octal": length("012"),
    "a negative length": length("-10"),
    "a length with a bad end": length("10x"),
    "an empty length": length("", ""),
    "an empty length before a length": post("Content-Length:\r\nContent-Length: 10\r\n", "0123456789"),
    "an empty length behind a length": post("Content-Length: 10\r\nContent-Length:\r\n", "0123456789"),
    "two lengths, the first right": post("Content-Length: 10\r\nContent-Length: 5\r\n", "0123456789"),
    "two lengths, the last right": post("Content-Length: 5\r\nContent-Length: 10\r\n", "0123456789"),
    "two lengths that agree": post("Content-Length: 10\r\nContent-Length: 10\r\n", "0123456789"),
    "chunked twice": post(
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
      `a\r\n0123456789\r\n${LAST_CHUNK}`,
    ),
    "an unknown coding read as chunked": post("Transfer-Encoding: x\r\n", `a\r\n0123456789\r\n${LAST_CHUNK}`),
    "an unknown coding and a length": post("Transfer-Encoding: x\r\nContent-Length: 10\r\n", "0123456789"),
    "a coding in 0xa0": post("Transfer-Encoding: \xa0chunked\xa0\r\n", LAST_CHUNK),
    "a body of a GET": `GET /hello/garden HTTP/1.1\r\n${HOST}Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
    "a length of nothing before another request": `GET /hello/garden HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\nGET /hello/second HTTP/1.1\r\n${HOST}\r\n`,
    "a byte too many behind a chunked body": chunked(`${LAST_CHUNK}X`),
    "a good request before a bad one": `GET /hello/garden HTTP/1.1\r\n${HOST}\r\nGET /hello/garden HTTP/1.1\r\n${HOST}X : y\r\n\r\n`,
    "good requests before a bad one": `${`POST /hello/garden HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`.repeat(3)}\0\r\n\r\n`,
    "a good request that closes before a bad one": `GET /hello/garden HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n\0\r\n\r\n`,
  };
  const kind = "known disagreements";
  return [
    ...Object.entries(items).map(([name, bytes]) => ({ name, kind, bytes })),
    {
      name: "a chunk size of 2^32 + 10 before ten bytes",
      kind,
      bytes: chunked(`10000000a\r\n0123456789\r\n${LAST_CHUNK}`),
      waits: true,
    },
  ];
}

/** One example or more of each class of bytes that llhttp's own tests hold invalid or special. */
export function invalidExamples(): FramingItem[] {
  const start = (line: string): string => `${line}\r\n${HOST}\r\n`;
  const items: [string, string][] = [];
  for (const protocol of [
    "ICE/1.0",
    "IHTTP/1.0",
    "RTSP/1.1",
    "HTTPS/1.1",
    "HTTP",
    "HTTP/",
    "HTTP/1",
    "HTTP/1.",
  ]) {
    items.push([`protocol ${protocol}`, start(`GET /hello/x ${protocol}`)]);
  }
  for (const version of [
    "0.9",
    "1.2",
    "1.9",
    "2.0",
    "3.0",
    "9.9",
    "5.6",
    "01.1",
    "1.01",
    "1,1",
    "11",
    "-1.1",
    " 1.1",
  ]) {
    items.push([`version ${version}`, start(`GET /hello/x HTTP/${version}`)]);
  }
  const methods = [
    ..."gGP".split(""),
    "get",
    "GE",
    "GEM",
    "MKA",
    "PUN",
    "PX",
    "P\0ST",
    "GET\0",
    "\xc0GET",
    "[GET]",
  ];
  for (const method of methods) {
    items.push([`method ${JSON.stringify(method)}`, start(`${method} /hello/x HTTP/1.1`)]);
  }
  for (const method of ["SOURCE", "ANNOUNCE", "FLUSH", "DESCRIBE", "PLAY", "PRI"]) {
    items.push([`method ${method}`, start(`${method} /hello/x HTTP/1.1`)]);
  }
  items.push(["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]);
  const targets = [
    "",
    "*",
    "hello/x",
    "?x",
    "#x",
    "/hello/x#y",
    "/hello/x y",
    "/hello/\t",
    "/hello/\x01",
    "/hello/\x7f",
    "/hello/\xff",
    "/hello/\xce\xb4",
    '/hello/"x"',
    "/hello/|x",
    "//alice.fn.test/hello",
    "http://",
    "http:///hello",
    "http://alice.fn.test?hail=all",
    "http://a:b@alice.fn.test/hello",
    "http://alice.fn.test:80:80/hello",
    "alice.fn.test:443",
    "alice.fn.test:443?hello",
    "ftp://alice.fn.test/hello",
  ];
  for (const target of targets)
    items.push([`target ${JSON.stringify(target)}`, start(`GET ${target} HTTP/1.1`)]);
  const lines = [
    "Fo@: Failure",
    "Foo\x01est: Bar",
    "Foo\x7f: Bar",
    "Foo(: Bar",
    "Foo Bar: Baz",
    ": Bar",
    " : Bar",
    "Foo",
    "Foo: Bar\0",
    "Foo: Bar\x01",
    "Foo: Bar\x1f",
    "Foo: Bar\x7f",
    "Foo: Bar\r",
    "Foo: Bar\r\r\n",
    "Foo: Bar\rBaz: 1",
    "Foo: Bar\nBaz: 1",
    "Foo: Bar\r\n Baz: 1",
    "Foo: Bar\r\n\tBaz",
    "Foo: 1\0Baz: 2",
    "Connection\r\x1bHost: a",
    "Connection: keep-alive\r\x00Host: a",
    "\xffFoo: Bar",
    "Content-Length: 1 2",
    "Content-Length: 1\t2",
    "Content-Length: 1,1",
    "Content-Length: 1;1",
    "Content-Length: 1.0",
    "Content-Length: 1e1",
    "Content-Length: ",
    "Content-Length: +1",
    "Content-Length: \x0b1",
    "Content-Length: 18446744073709551616",
    "Content-Length: 99999999999999999999999999",
    "Content\rLength: 1",
    "Transfer-Encoding: pigeons",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, deflate",
    "Transfer-Encoding: chunkedchunked",
  ];
  for (const line of lines) {
    items.push([`line ${JSON.stringify(line)}`, `POST /hello/x HTTP/1.1\r\n${HOST}${line}\r\n\r\n`]);
  }
  const heads: Record<string, string> = {
    "only line feeds": "POST /hello/x HTTP/1.1\nHost: alice.fn.test\nContent-Length: 1\n\nA",
    "only carriage returns": "GET /hello/x HTTP/1.1\rHost: alice.fn.test\r\r",
    "a carriage return behind the start": `GET /hello/x HTTP/1.1\rFoo: Bar\r\n${HOST}\r\n`,
    "a line feed behind the start": `GET /hello/x HTTP/1.1\nFoo: Bar\r\n${HOST}\r\n`,
    "a space behind the start line's version": `GET /hello/x HTTP/1.1 \r\n${HOST}\r\n`,
    "a space behind the start line": `GET /hello/x HTTP/1.1\r\n Space: x\r\n${HOST}\r\n`,
    "an empty header between bare returns": `GET /hello/x HTTP/1.1\r\n${HOST}Foo: Bar\r\n\rBaz: 1\r\n\r\n`,
    "a head without its empty line": `GET /hello/x HTTP/1.1\r\n${HOST}`,
    "a body where the head should end": `PUT /hello/x HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\rabc`,
    "several spaces in the start line": `GET  /hello/x  HTTP/1.1\r\n${HOST}\r\n`,
    "tabs in the start line": `GET\t/hello/x\tHTTP/1.1\r\n${HOST}\r\n`,
    "a start line without a version": `GET /hello/x\r\n${HOST}\r\n`,
    "HTTP/0.9": "GET /hello/x\r\n",
    "an answer": `HTTP/1.1 200 OK\r\n${HOST}\r\n`,
    "a TLS greeting": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "lines of nothing": "\r\n\r\n\r\n\r\nGET\r\n\r\n",
    "NUL bytes": "\0".repeat(100),
    "a byte order mark": `\xef\xbb\xbfGET /hello/x HTTP/1.1\r\n${HOST}\r\n`,
    "an unclosed quote in an extension": post(
      "Transfer-Encoding: chunked\r\n",
      `1;x="y\r\na\r\n${LAST_CHUNK}`,
    ),
    "a quoted extension": post("Transfer-Encoding: chunked\r\n", `1;x="y;z"\r\na\r\n${LAST_CHUNK}`),
    "an extension without a name": post("Transfer-Encoding: chunked\r\n", `1;\r\na\r\n${LAST_CHUNK}`),
    "no last chunk": post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n"),
    "a fold behind the coding": post("Transfer-Encoding: chunked\r\n abc\r\n", `1\r\na\r\n${LAST_CHUNK}`),
    "150 header lines": `GET /hello/x HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(150)}\r\n`,
    "1,100 header lines and a length": `POST /hello/x HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(1100)}Content-Length: 1\r\n\r\nx`,
    "17 KiB of headers": `GET /hello/x HTTP/1.1\r\n${HOST}a: ${"b".repeat(17 * 1024)}\r\n\r\n`,
    "a name of 17 KiB": `GET /hello/x HTTP/1.1\r\n${HOST}${"b".repeat(17 * 1024)}: a\r\n\r\n`,
    "a target of 9 KiB": start(`GET /hello/${"x".repeat(9 * 1024)} HTTP/1.1`),
    "a target of 17 KiB": start(`GET /hello/${"x".repeat(17 * 1024)} HTTP/1.1`),
    "a method of 17 KiB": start(`${"G".repeat(17 * 1024)} /hello/x HTTP/1.1`),
    "an extension of 20 KiB": post(
      "Transfer-Encoding: chunked\r\n",
      `1;${"x".repeat(20 * 1024)}\r\na\r\n${LAST_CHUNK}`,
    ),
    "trailers of 20 KiB": post("Transfer-Encoding: chunked\r\n", `0\r\n${"x: y\r\n".repeat(3_500)}\r\n`),
  };
  items.push(...Object.entries(heads));
  return items.map(([name, bytes]) => ({ name: `llhttp: ${name}`, kind: "invalid examples", bytes }));
}

function post(lines: string, body: string): string {
  return `POST /hello/te HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
}
