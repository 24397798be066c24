import type { IncomingMessage, ServerResponse } from "node:http";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Session } from "./authenticate.ts";
import type { EarlyBytes } from "./early-bytes.ts";
import type { RequestHead } from "./headers.ts";
import type { Target } from "./target.ts";

/** One request and its answer, with what the phases have found out so far; record.ts reads it at the end. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Ours, until the client is found to have sent one that can be passed on. */
  requestId: string;
  readonly startedMs = performance.now();
  /** What comes after the head of an upgrade request; its presence means that this is one. */
  readonly early: EarlyBytes | undefined;
  /** The client waits for a `100 Continue` before it sends the body. */
  expectsContinue = false;
  head: RequestHead | undefined;
  target: Target | undefined;
  route: Route | undefined;
  /** By which the route was opened; `undefined` where it is open to anybody. */
  session: Session | undefined;
  /** Id of the replica that was asked last. */
  upstream: string | undefined;
  /** Why the answer is not the upstream's. */
  reason: string | undefined;
  bytesSent = 0;
  /** The answer was a 101, and the connection is a tunnel now. */
  upgraded = false;
  recorded = false;

  constructor(request: IncomingMessage, response: ServerResponse, requestId: string, early?: EarlyBytes) {
    this.request = request;
    this.response = response;
    this.requestId = requestId;
    this.early = early;
  }

  get clientAddress(): string {
    const address = this.request.socket.remoteAddress ?? "unknown";
    return address.startsWith("::ffff:") ? address.slice(7) : address;
  }

  /** The status answered, or 499 where the client left before there was one. */
  get status(): number {
    if (this.upgraded) return 101;
    return this.response.headersSent ? this.response.statusCode : 499;
  }
}
