import { type FramingItem, HOST } from "./framing-corpus.ts";

/** Requests of at most 10 KiB, each all of one thing that a server has to look at, undo, compare, answer or pass on. */
export function costlyRequests(): FramingItem[] {
  const get = (target: string, lines: string, host = HOST): string =>
    `GET ${target} HTTP/1.1\r\n${host}${lines}\r\n`;
  const post = (lines: string, body: string): string => `POST /hello HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
  const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
  const members = (lines: string): string => get("/members", lines);
  const nearlyJson = Buffer.from("openfaas-cloud").toString("base64url");
  const items: Record<string, string> = {
    "a hundred header lines": get("/hello", repeated("a:b\r\n", 500).slice(0, 99 * 5)),
    "a value of 9 KiB": get("/hello", `X: ${repeated("y", 9_000)}\r\n`),
    "names for one hop, beside as many headers": get(
      "/hello",
      `Connection: ${repeated("zz,", 6_000)}z\r\n${Array.from({ length: 97 }, (_, i) => `X-Header-Number-${i}: y\r\n`).join("")}`,
    ),
    "names for one hop, on many lines": get(
      "/hello",
      repeated(`Connection: ${repeated("z,", 78)}z\r\n`, 9_000),
    ),
    "nothing but commas for one hop": get("/hello", `Connection: ${repeated(",", 9_000)}z\r\n`),
    "ten thousand blanks in a value": get(
      "/hello",
      `X: a${repeated(" ", 9_000)}b\r\nConnection:${repeated(" ", 500)}\r\n`,
    ),
    "cookies upon cookies": get("/hello", `Cookie: ${repeated("a=b; ", 9_000)}c=d\r\n`),
    "cookies that look like ours": get(
      "/hello",
      `Cookie: ${repeated("__Host-openfaas_cloud_x=1; ", 9_000)}c=d\r\n`,
    ),
    "cookies in blanks": get("/hello", `Cookie: __Host-openfaas_cloud_${repeated(" ", 9_000)}=d\r\n`),
    "a hundred cookie lines": get(
      "/hello",
      repeated("Cookie: __Host-openfaas_cloud_token=a; b=c\r\n", 2_700),
    ),
    "credentials upon credentials": get("/hello", `Authorization: Bearer ${repeated("a.b.c,", 8_000)}\r\n`),
    "credentials that are nearly ours": get(
      "/hello",
      `Authorization: Bearer ${repeated(`a.${nearlyJson}.c,`, 8_000)}\r\n`,
    ),
    "credentials of no scheme": get("/hello", `Authorization: ${repeated(`a.${nearlyJson}.c `, 8_000)}\r\n`),
    "a basic pair of 8 KiB": get("/hello", `Authorization: Basic ${repeated("YTpi ", 8_000)}\r\n`),
    "a bearer of 8 KiB that nobody signed": members(`Authorization: Bearer a.${repeated("b", 8_000)}.c\r\n`),
    "a session cookie that nobody signed": members(
      `Cookie: __Host-openfaas_cloud_token=a.${repeated("b", 8_000)}.c\r\n`,
    ),
    "an access token that nobody knows": members(`Authorization: Bearer ofc_${repeated("x", 100)}\r\n`),
    "ways there and back": get(`/hello${repeated("/a/..", 8_000)}`, ""),
    "ways there and back, encoded": get(`/hello${repeated("/a/%2e%2E", 8_000)}`, ""),
    "ways to nowhere": get(`/hello${repeated("/.", 8_000)}`, ""),
    slashes: get(`/hello${repeated("/", 8_000)}`, ""),
    "encodings of encodings, of the control plane": get(
      `/${repeated("%2525", 8_000)}`,
      "",
      "Host: system.console.test\r\n",
    ),
    "ways there and back, of the control plane": get(
      `/x${repeated("/a%2f..", 8_000)}`,
      "",
      "Host: system.console.test\r\n",
    ),
    "a name that is to be escaped in a page": get(`/${repeated("&<'\"", 60)}x`, "Accept: text/html\r\n"),
    "a function that is not there, as a page": get("/absent", "Accept: text/html\r\n"),
    "a host that is not there, as a page": get("/hello", "Accept: text/html\r\n", "Host: nobody.fn.test\r\n"),
    "a host of 250 characters": get("/hello", "", `Host: ${repeated("a.", 240)}fn.test\r\n`),
    "chunks of a byte": chunked(`${repeated("1\r\nx\r\n", 9_000)}0\r\n\r\n`),
    "chunks with extensions": chunked(`${repeated("1;a=b;c=d\r\nx\r\n", 9_000)}0\r\n\r\n`),
    "an extension of 9 KiB": chunked(`1;${repeated("x", 9_000)}\r\nx\r\n0\r\n\r\n`),
    "a size of zeros": chunked(`${repeated("0", 9_000)}1\r\nx\r\n0\r\n\r\n`),
    "trailers upon trailers": chunked(`1\r\nx\r\n0\r\n${repeated("x: y\r\n", 590)}\r\n`),
    "a body of 9 KiB": post("Content-Length: 9000\r\n", repeated("x", 9_000)),
    "a body that it asks for first": post("Expect: 100-continue\r\nContent-Length: 1\r\n", "x"),
    "an upgrade that is not taken": get("/hello", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "a question to whoever is next": `OPTIONS /hello HTTP/1.1\r\n${HOST}Max-Forwards: 0\r\n\r\n`,
    "empty lines before a request": `${repeated("\r\n", 9_000)}${get("/hello", "")}`,
    "nothing but a letter and a colon, a hundred times": get("/hello", repeated("a:\r\n", 380)),
  };
  return Object.entries(items).map(([name, bytes]) => ({ name, kind: name, bytes }));
}

/** As often as it fits. */
function repeated(text: string, bytes: number): string {
  return text.repeat(Math.floor(bytes / text.length));
}
