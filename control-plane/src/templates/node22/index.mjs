// Entry of node functions: loads ./function/handler and calls it with (event, context, callback) for each request.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";

const DEFAULT_LIMIT = 100 * 1024;
const HEALTH_PATHS = new Set(["/_/health", "/_/ready"]);

const environment = process.env;
const port = Number(environment.PORT || environment.http_port || 3000);
const takesRawBody = environment.RAW_BODY === "true";
const limits = {
  raw: parseSize(environment.MAX_RAW_SIZE),
  json: parseSize(environment.MAX_JSON_SIZE),
};

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

class FunctionEvent {
  constructor(request, url, body) {
    this.body = body;
    this.headers = request.headers;
    this.method = request.method;
    this.query = parseForm(url.search.slice(1));
    this.path = url.pathname;
  }
}

class FunctionContext {
  constructor(done) {
    this.statusCode = 200;
    this.headerValues = {};
    this.cb = done;
    this.cbCalled = 0;
  }

  status(code) {
    if (!code) return this.statusCode;
    this.statusCode = code;
    return this;
  }

  headers(values) {
    if (!values) return this.headerValues;
    this.headerValues = values;
    return this;
  }

  succeed(value) {
    this.cbCalled++;
    this.cb(undefined, value);
  }

  fail(error) {
    if (Number(this.statusCode) === 200) this.statusCode = 500;
    this.cbCalled++;
    this.cb(error);
  }
}

const handle = await loadHandler();

// Nothing may reject here: a rejection that nobody handles ends the process, and any client could cause one.
const server = createServer((request, response) => {
  serve(request, response).catch((error) => refuse(request, response, error));
});

// The platform keeps connections open and reuses them: it must be the one that closes them.
server.keepAliveTimeout = 0;
server.listen(port, "127.0.0.1");

process.once("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  // A connection that still carries a request becomes idle when that is answered.
  setInterval(() => server.closeIdleConnections(), 10);
});

async function serve(request, response) {
  const url = parseTarget(request.url);
  if (HEALTH_PATHS.has(url.pathname)) return void response.writeHead(200).end("OK");
  const body = await readBody(request);
  call(new FunctionEvent(request, url, body), response);
}

function parseTarget(target) {
  try {
    return new URL(target.replace(/^\/+/, "/"), "http://function");
  } catch {
    throw new Refused(400, "the request's target is malformed");
  }
}

function refuse(request, response, error) {
  // Whoever asked has hung up, often in the middle of the body: there is nobody to answer.
  if (request.destroyed && !request.complete) return;
  const isRefused = error instanceof Refused;
  if (!isRefused) report(error);
  if (response.headersSent) return void response.destroy();
  // The rest of the body may still be under way: the connection cannot be used again.
  response.writeHead(isRefused ? error.status : 500, {
    "content-type": "text/plain; charset=utf-8",
    connection: "close",
  });
  response.end(isRefused ? error.message : "Internal Server Error");
}

function report(problem) {
  // biome-ignore lint/suspicious/noConsole: what a function prints is its log
  console.error(problem);
}

async function loadHandler() {
  const require = createRequire(import.meta.url);
  let loaded = await import(pathToFileURL(resolveHandler(require)).href);
  while (typeof loaded !== "function" && loaded?.default !== undefined) loaded = loaded.default;
  if (typeof loaded !== "function") {
    report("The handler must export a function: module.exports = async (event, context) => …");
    process.exit(1);
  }
  return loaded;
}

function resolveHandler(require) {
  for (const candidate of [
    "./function/handler",
    "./function/handler.mjs",
    "./function/handler.cjs",
    "./function/handler.ts",
  ]) {
    try {
      return require.resolve(candidate);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  report("handler.js was not found");
  process.exit(1);
}

function call(event, response) {
  let answered = false;
  const context = new FunctionContext((error, value) => {
    if (answered) return;
    answered = true;
    try {
      if (error) answerError(response, context, error);
      else answer(response, context, value);
    } catch (problem) {
      // A header or status that HTTP does not allow: nothing has been sent yet.
      report(problem);
      for (const name of response.getHeaderNames()) response.removeHeader(name);
      response.writeHead(500, { "content-type": "text/plain; charset=utf-8" }).end(String(problem));
    }
  });
  new Promise((resolve) => resolve(handle(event, context, context.cb))).then(
    (value) => {
      if (context.cbCalled === 0) context.succeed(value);
    },
    (error) => context.fail(error ?? new Error("the handler failed without an error")),
  );
}

function answerError(response, context, error) {
  report(error);
  if (Number(context.statusCode) === 200) context.statusCode = 500;
  send(response, context, String(error), "text/html");
}

function answer(response, context, value) {
  for (const [name, header] of Object.entries(context.headers())) {
    response.setHeader(name, Array.isArray(header) ? header.map(String) : String(header));
  }
  if (value === undefined || value === null) return send(response, context, "", undefined);
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) {
    return send(response, context, value, "application/octet-stream");
  }
  if (typeof value === "string" || typeof value === "number" || typeof value === "bigint") {
    return send(response, context, String(value), "text/html");
  }
  const isPlain = Array.isArray(value) || value.constructor === Object;
  send(response, context, JSON.stringify(value), isPlain ? "text/html" : "application/json");
}

function send(response, context, body, defaultType) {
  const given = response.getHeader("content-type") ?? defaultType;
  if (given !== undefined)
    response.setHeader("content-type", typeof body === "string" ? asUtf8(given) : given);
  response.statusCode = Number(context.statusCode);
  if (response.statusCode === 204 || response.statusCode === 304) return response.end();
  response.setHeader("content-length", Buffer.byteLength(body));
  response.end(body);
}

/** A string is sent as UTF-8 whatever the handler said of it. */
function asUtf8(type) {
  return `${String(type).replace(/;\s*charset=[^;]*/i, "")}; charset=utf-8`;
}

async function readBody(request) {
  const { headers } = request;
  if (headers["content-type"] === undefined || headers["content-type"] === "")
    headers["content-type"] = "text/plain";
  if (headers["transfer-encoding"] === undefined && !Number(headers["content-length"])) return {};
  const type = headers["content-type"].split(";")[0].trim().toLowerCase();
  if (takesRawBody) return collect(request, limits.raw);
  if (type.startsWith("text/")) return decode(await collect(request, DEFAULT_LIMIT), headers, "utf-8");
  if (type === "application/json")
    return parseJson(decode(await collect(request, limits.json), headers, "utf-8"));
  if (type === "application/x-www-form-urlencoded") {
    return parseForm(decode(await collect(request, DEFAULT_LIMIT), headers, "utf-8"));
  }
  return {};
}

async function collect(request, limit) {
  if (Number(request.headers["content-length"]) > limit) throw new Refused(413, "request entity too large");
  const chunks = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > limit) throw new Refused(413, "request entity too large");
    chunks.push(chunk);
  }
  return inflate(Buffer.concat(chunks), request.headers["content-encoding"], limit);
}

function inflate(bytes, encoding, limit) {
  const inflaters = { gzip: gunzipSync, deflate: inflateSync, br: brotliDecompressSync };
  if (encoding === undefined || encoding === "identity") return bytes;
  const inflater = inflaters[encoding.toLowerCase()];
  if (inflater === undefined) throw new Refused(415, `unsupported content encoding "${encoding}"`);
  try {
    return inflater(bytes, { maxOutputLength: limit });
  } catch (error) {
    if (error.code === "ERR_BUFFER_TOO_LARGE") throw new Refused(413, "request entity too large");
    throw new Refused(400, "the body is not what its content encoding says");
  }
}

function decode(bytes, headers, defaultCharset) {
  const charset = /;\s*charset="?([^\s;"]+)/i.exec(headers["content-type"])?.[1] ?? defaultCharset;
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    throw new Refused(415, `unsupported charset "${charset.toUpperCase()}"`);
  }
}

/** Objects and arrays only, as the official template's parser has it. */
function parseJson(text) {
  if (text.trim() === "") return {};
  try {
    const value = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch (error) {
    throw new Refused(400, error.message);
  }
  throw new Refused(400, "the body must be a JSON object or array");
}

/** `a=1&b[]=2&b[]=3&c[d]=4` → `{ a: "1", b: ["2", "3"], c: { d: "4" } }`; a name that comes again makes a list. */
function parseForm(text) {
  const form = {};
  let fields = 0;
  for (const [name, value] of new URLSearchParams(text)) {
    if (++fields > 1000) break;
    const keys = splitName(name);
    if (keys.some((key) => key in Object.prototype)) continue;
    put(form, keys, value);
  }
  return form;
}

function splitName(name) {
  const head = /^[^[]+/.exec(name)?.[0];
  const rest = head === undefined ? "" : name.slice(head.length);
  if (head === undefined || !/^(\[[^[\]]*\]){1,5}$/.test(rest)) return [name];
  return [head, ...rest.slice(1, -1).split("][")];
}

function put(target, [key, ...rest], value) {
  if (rest.length === 0) {
    target[key] = key in target ? [target[key], value].flat() : value;
  } else if (rest.length === 1 && (rest[0] === "" || (/^\d{1,2}$/.test(rest[0]) && !isRecord(target[key])))) {
    target[key] = [target[key] ?? [], value].flat();
  } else {
    if (!isRecord(target[key])) target[key] = {};
    put(target[key], rest, value);
  }
}

function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseSize(text) {
  const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?\s*$/i.exec(text ?? "") ?? [];
  if (number === undefined) return DEFAULT_LIMIT;
  return Math.floor(
    Number(number) * { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }[(unit ?? "b").toLowerCase()],
  );
}
