import { ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { Exchange } from "./exchange.ts";
import type { Link, Refusal } from "./refusal.ts";

/** How long a client that is refused may go on sending, so that it gets to read why. */
export const LINGER_MS = 1_000;
/** How long one who is refused without a request may leave us with the answer. */
const UNREAD_MS = 10_000;

/** What a function may be asked by; which of them it answers is its own business. */
export const ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/** The only writer of error answers. JSON, or a page for a browser; the request's id in both, so that it can be found. */
export function respondError(exchange: Exchange, refusal: Refusal): void {
  exchange.reason ??= refusal.code;
  const page = (exchange.head?.accept ?? "").includes("text/html");
  const text = page ? html(refusal, exchange.requestId) : json(refusal, exchange.requestId);
  exchange.respond({
    status: refusal.status,
    lines: errorLines(refusal, exchange.requestId, page),
    body: Buffer.from(text),
    close: refusal.close === true,
  });
}

function errorLines(refusal: Refusal, requestId: string, page: boolean): string[] {
  const lines = [
    "Content-Type",
    page ? "text/html; charset=utf-8" : "application/json; charset=utf-8",
    "Cache-Control",
    "no-store",
    "X-Content-Type-Options",
    "nosniff",
    "X-Request-Id",
    requestId,
  ];
  if (page) lines.push("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  if (refusal.location !== undefined) lines.push("Location", refusal.location);
  if (refusal.retryAfterS !== undefined) lines.push("Retry-After", String(refusal.retryAfterS));
  if (refusal.status === 401) lines.push("WWW-Authenticate", 'Bearer realm="openfaas-cloud"');
  if (refusal.status === 405) lines.push("Allow", ALLOWED_METHODS);
  return lines;
}

/** As node:http tells it; `rawPacket` is what came last. */
interface BrokenClientError extends Pick<NodeJS.ErrnoException, "code"> {
  readonly rawPacket?: Buffer;
}

/**
 * For what never became a request: the parser gave up, or the client did not finish its head in time. Tells the status, where
 * there was anybody to answer.
 */
export function respondToBrokenClient(socket: Socket, error: BrokenClientError): number | undefined {
  const answer = currentAnswer(socket);
  if (answer?.headersSent === true) {
    breakOff(answer, socket, error);
    return undefined;
  }
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return undefined;
  }
  const { status, message } = brokenClientStatus(error);
  // What broke may be the body of a HEAD, whose answer has none.
  const isHead = answer?.req.method === "HEAD";
  const body = isHead ? "" : JSON.stringify({ error: { code: "request-invalid", message } });
  socket.write(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Date: ${new Date().toUTCString()}\r\nConnection: close\r\n\r\n${body}`,
  );
  socket.destroySoon();
  const unread = setTimeout(() => socket.destroy(), UNREAD_MS).unref();
  socket.once("close", () => clearTimeout(unread));
  return status;
}

/** To the request that is being served on a connection; where it has begun already, another would be read as part of it. */
export function currentAnswer(socket: Socket): ServerResponse | undefined {
  const current = (socket as { _httpMessage?: unknown })._httpMessage;
  return current instanceof ServerResponse ? current : undefined;
}

/** The request under an answer broke off. An answer that is whole and waited for the rest of it ends; any other is cut. */
function breakOff(answer: ServerResponse, socket: Socket, error: BrokenClientError): void {
  if (answer.req.listenerCount("error") > 0) answer.req.emit("error", error);
  if (!answer.writableEnded) socket.destroy();
}

function brokenClientStatus(error: BrokenClientError): { status: number; message: string } {
  switch (error.code) {
    case "HPE_HEADER_OVERFLOW":
      if (isStillInTarget(error.rawPacket)) {
        return { status: 414, message: "The request target is longer than 8 KiB." };
      }
      return {
        status: 431,
        message: "The request's head is larger than 16 KiB.",
      };
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return { status: 408, message: "The request's head did not arrive in time." };
    case "HPE_INVALID_VERSION":
      return {
        status: 505,
        message: "Only HTTP/1.1 and HTTP/1.0 are served here.",
      };
    default:
      return { status: 400, message: "The request is not valid HTTP/1.1." };
  }
}

/** Whether a packet of a head that is too large begins with a start line, and has not come to its end. */
function isStillInTarget(packet: Buffer | undefined): boolean {
  return packet !== undefined && /^[A-Z]{3,10} [^ \r\n]{8192,}/.test(packet.toString("latin1"));
}

function json(refusal: Refusal, requestId: string): string {
  const { code, message } = refusal;
  return `${JSON.stringify({ error: { code, message, requestId } })}\n`;
}

function html(refusal: Refusal, requestId: string): string {
  const links = refusal.links ?? [];
  const list = links.length === 0 ? "" : `<ul>${links.map(listItem).join("")}</ul>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${refusal.status} – OpenFaaS Cloud</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 15vh auto 2rem; padding: 0 1.25rem; }
h1 { font-size: 1.1rem; font-weight: 600; opacity: .7; margin: 0; }
p { font-size: 1.25rem; margin: .5rem 0 1.5rem; overflow-wrap: anywhere; }
ul { padding-left: 1.25rem; }
footer { margin-top: 2rem; font-size: .8rem; opacity: .6; }
</style>
</head>
<body>
<main>
<h1>${refusal.status}</h1>
<p>${escapeHtml(refusal.message)}</p>
${list}
</main>
<footer>Request <code>${escapeHtml(requestId)}</code></footer>
</body>
</html>
`;
}

function listItem({ href, text }: Link): string {
  return `<li><a href="${escapeHtml(href)}">${escapeHtml(text)}</a></li>`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
