import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Permit } from "./admit.ts";
import type { Session } from "./authenticate.ts";
import type { RawHeaders } from "./field-kinds.ts";
import type { Forwarding, Outcome } from "./forwarding.ts";
import type { FunctionRecord } from "./function-records.ts";
import type { Lane } from "./metrics.ts";
import type { Reason } from "./refusal.ts";
import type { RequestHead } from "./request-fields.ts";
import { respondError } from "./respond-error.ts";
import type { Target } from "./target.ts";

/** Who asks, and how. */
export interface Downstream {
  /** IPv4 or IPv6 address, without zone or brackets. */
  readonly address: string;
  readonly scheme: "http" | "https";
  /** The address, and those of the trusted peers that the request came through since, nearest last. */
  readonly forwardedFor: string;
}

/** Who is at the other end of a client's connection; found out once for each connection. */
export interface Client extends Downstream {
  /** Whether it is a peer whose `X-Forwarded-For` and `X-Forwarded-Proto` count. */
  readonly isTrusted: boolean;
}

/** A request as a lane has read it: nothing in it is interpreted yet. */
export interface RequestLines {
  readonly method: string;
  /** The request target as it came: origin-form or absolute-form. */
  readonly rawTarget: string;
  readonly httpVersion: string;
  readonly rawHeaders: RawHeaders;
}

/** An answer that the edge gives itself. */
export interface OwnAnswer {
  readonly status: number;
  /** Without framing and connection, which the lane writes. */
  readonly lines: readonly string[];
  readonly body: Buffer;
  /** Whether the connection is of no further use. */
  readonly close: boolean;
}

/**
 * One request and its answer, with what the phases have found out so far; record.ts reads it at the end. The lane that the
 * request came in by extends it with how bytes are moved.
 */
export abstract class Exchange implements RequestLines {
  readonly method: string;
  readonly rawTarget: string;
  readonly httpVersion: string;
  abstract readonly rawHeaders: RawHeaders;
  readonly client: Client;
  /** The client, or who stands behind it where it is a trusted peer. */
  downstream: Downstream;
  /** Ours, until the client is found to have sent one that can be passed on. */
  requestId: string;
  readonly startedMs: number;
  head: RequestHead | undefined;
  target: Target | undefined;
  route: Route | undefined;
  /** Where it is counted, once it was admitted. */
  usage: FunctionRecord | undefined;
  /** By which the route was opened; `undefined` where it is open to anybody. */
  session: Session | undefined;
  tokenLookedInto = false;
  /** Id of the replica that was asked last. */
  upstream: string | undefined;
  /** Why the answer is not the upstream's. */
  reason: Reason | undefined;
  /** Of the bodies. */
  bytesReceived = 0;
  bytesSent = 0;
  recorded = false;
  /** Among the requests under way. */
  rosterIndex = -1;
  /** Given back when forwarding has ended. */
  permit: Permit | undefined;

  constructor(lines: Omit<RequestLines, "rawHeaders">, client: Client, requestId: string) {
    this.method = lines.method;
    this.rawTarget = lines.rawTarget;
    this.httpVersion = lines.httpVersion;
    this.client = client;
    this.downstream = client;
    this.requestId = requestId;
    this.startedMs = performance.now();
  }

  /** For the log: which code moves the bytes. */
  abstract readonly lane: Lane;

  /** The status answered, or 499 where the client left before there was one. */
  abstract get status(): number;

  /** Whether the client has got all of the answer that there was to get. */
  abstract get answered(): boolean;

  /** Answers with what the edge has to say; cuts the connection where another answer has begun already. */
  abstract respond(answer: OwnAnswer): void;

  /**
   * Sends the request upstream and its answer back, both as streams. `settled` is called when the client has all of it, or
   * will not; no promise is made of it, since that would cost as much as a phase.
   */
  abstract forward(forwarding: Forwarding): void;

  /** Forwarding is over. */
  settled(outcome: Outcome): void {
    if (outcome.kind !== "upgraded") this.permit?.[Symbol.dispose]();
    if (outcome.kind === "refused") respondError(this, outcome.refusal);
  }
}
