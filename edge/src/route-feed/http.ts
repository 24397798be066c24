import { setTimeout as sleep } from "node:timers/promises";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { type AppliedReport, FEED_SILENCE_MS } from "@openfaas-cloud/shared/route.ts";
import { Pool } from "undici";
import type { Logger } from "../logger.ts";
import type { RouteTable } from "../route-table.ts";
import type { Receiver, Rejection, RejectReason, RouteFeed } from "./route-feed.ts";

export interface HttpRouteFeedOptions {
  readonly origin: string;
  readonly credential: Secret;
  readonly edgeId: string;
  readonly receiver: Receiver;
  readonly onRejected: (reason: RejectReason) => void;
  readonly logger: Logger;
  readonly silenceMs?: number;
}

const MAX_LINE_BYTES = 256 * 1024 * 1024;
const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 2_000;
/** What lasts until an operator does something. */
const SAID_EVERY_MS = 60_000;
const START_WITHOUT =
  "if they are meant, stop this edge, delete routes-*.json in its data directory, and start it again";
const REMEDIES: Readonly<Partial<Record<RejectReason, string>>> = {
  collapse: `the control plane's routes are too many or too few to be true, the ones before are served on; ${START_WITHOUT}`,
  stale:
    "the control plane's routes are older than those served, as when its store came back from a backup, and are not taken; " +
    START_WITHOUT,
  upstream:
    "a route names an upstream where none may be, the routes before are served on; if replicas are there, list it in " +
    "EDGE_UPSTREAM_NETWORKS or, for a name, in EDGE_UPSTREAM_HOSTS",
};

/** The feed over HTTP: one long answer of newline-delimited messages, and a post for each table that was applied. */
export class HttpRouteFeed implements RouteFeed {
  readonly #options: HttpRouteFeedOptions;
  readonly #pool: Pool;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #firstWord = Promise.withResolvers<void>();
  #connected = false;
  #sayWhyAt = 0;
  #toConfirm: RouteTable | undefined;
  #confirming: Promise<void> | undefined;

  constructor(options: HttpRouteFeedOptions) {
    this.#options = options;
    this.#pool = new Pool(options.origin, {
      connectTimeout: 2_000,
      headersTimeout: 10_000,
      // Silence is judged here and not by the client, whose clock is coarser.
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
    });
    this.#running = this.#follow();
  }

  /** Resolves when the control plane has brought a first message, or was found not to answer. */
  get firstWord(): Promise<void> {
    return this.#firstWord.promise;
  }

  get connected(): boolean {
    return this.#connected;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#confirming;
    await this.#pool.destroy();
  }

  async #follow(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!this.#stop.signal.aborted) {
      const accepted = await this.#readOneStream();
      retryMs = accepted ? FIRST_RETRY_MS : Math.min(retryMs * 2, LAST_RETRY_MS);
      await pause(retryMs * (0.5 + Math.random() / 2), this.#stop.signal);
    }
  }

  /** One connection from its beginning to its end; tells whether anything it brought was accepted. */
  async #readOneStream(): Promise<boolean> {
    const { edgeId, credential, logger } = this.#options;
    let accepted = false;
    const silence = new SilenceGuard(this.#options.silenceMs ?? FEED_SILENCE_MS, this.#stop.signal);
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "GET",
        path: `/internal/route-feed?edge=${encodeURIComponent(edgeId)}`,
        headers: { authorization: `Bearer ${credential.reveal()}`, accept: "application/x-ndjson" },
        signal: silence.signal,
      });
      if (statusCode !== 200) {
        body.on("error", ignoreAbort).destroy();
        const isStranger = statusCode === 401 || statusCode === 403;
        const hint = isStranger ? ": FEED_CREDENTIAL is not the one that it knows" : "";
        throw new Error(`the control plane answered ${statusCode}${hint}`);
      }
      this.#connected = true;
      const lines = new LineSplitter(MAX_LINE_BYTES);
      for await (const chunk of body) {
        silence.heard();
        for (const line of lines.push(chunk as Buffer)) {
          if (!(await this.#receive(line))) return accepted;
          accepted = true;
          this.#firstWord.resolve();
        }
        if (lines.overflown) {
          this.#reject({ kind: "rejected", reason: "line-too-long" });
          return accepted;
        }
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) logger.warn({ error: errorMessage(error) }, "route feed interrupted");
    } finally {
      this.#connected = false;
      this.#firstWord.resolve();
      silence.end();
    }
    return accepted;
  }

  async #receive(line: Buffer): Promise<boolean> {
    const verdict = await this.#options.receiver.receive(parseJson(line));
    switch (verdict.kind) {
      case "applied":
        this.#options.logger.info(
          { version: verdict.table.version, routes: verdict.table.size },
          "routes applied",
        );
        this.#confirm(verdict.table);
        return true;
      case "current":
        this.#confirm(verdict.table);
        return true;
      case "heartbeat":
        return true;
      case "rejected":
        this.#reject(verdict);
        return false;
    }
  }

  #reject(rejection: Rejection): void {
    const { logger, onRejected } = this.#options;
    const { reason } = rejection;
    onRejected(reason);
    logger.warn({ reason }, "route feed message refused, asking for a snapshot");
    const remedy = REMEDIES[reason];
    if (remedy === undefined || performance.now() < this.#sayWhyAt) return;
    this.#sayWhyAt = performance.now() + SAID_EVERY_MS;
    const { kind: _kind, ...what } = rejection;
    logger.error(what, remedy);
  }

  /** Posts at once. While a post is under way only the newest table waits behind it, since it confirms the others too. */
  #confirm(table: RouteTable): void {
    this.#toConfirm = table;
    this.#confirming ??= this.#postConfirmations().finally(() => {
      this.#confirming = undefined;
    });
  }

  async #postConfirmations(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (this.#toConfirm !== undefined && !this.#stop.signal.aborted) {
      const table = this.#toConfirm;
      if (await this.#post(table)) {
        if (this.#toConfirm === table) this.#toConfirm = undefined;
        retryMs = FIRST_RETRY_MS;
      } else if (!this.#connected) {
        // The next connection begins with a snapshot, which is confirmed then.
        this.#toConfirm = undefined;
      } else {
        await pause(retryMs, this.#stop.signal);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
  }

  async #post(table: RouteTable): Promise<boolean> {
    const { edgeId, credential, logger } = this.#options;
    const report: AppliedReport = {
      edge: edgeId,
      epoch: table.epoch,
      version: table.version,
      checksum: table.checksum,
    };
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "POST",
        path: "/internal/route-feed/applied",
        headers: { authorization: `Bearer ${credential.reveal()}`, "content-type": "application/json" },
        body: JSON.stringify(report),
        bodyTimeout: 5_000,
        signal: this.#stop.signal,
      });
      await body.dump();
      if (statusCode < 300) return true;
      logger.warn({ status: statusCode }, "confirmation of routes not accepted");
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        logger.warn({ error: errorMessage(error) }, "confirmation of routes not sent");
      }
    }
    return false;
  }
}

/** Aborts when nothing was heard for a while, or when the feed ends. One timer, moved on without being made anew. */
class SilenceGuard {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #stop: AbortSignal;
  readonly #abort = (): void => this.#controller.abort(new Error("the route feed fell silent"));

  constructor(silenceMs: number, stop: AbortSignal) {
    this.#timer = setTimeout(this.#abort, silenceMs);
    this.#stop = stop;
    stop.addEventListener("abort", this.#abort, { once: true });
    if (stop.aborted) this.#abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#stop.removeEventListener("abort", this.#abort);
  }
}

/** Cuts a byte stream at its newlines, and holds no more of an unfinished line than it is allowed to. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #held = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get overflown(): boolean {
    return this.#held > this.#maxBytes;
  }

  *push(chunk: Buffer): Iterable<Buffer> {
    let from = 0;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...this.#parts, chunk.subarray(from, at)]);
      this.#parts = [];
      this.#held = 0;
      from = at + 1;
      if (line.length > 0) yield line;
    }
    if (from === chunk.length) return;
    this.#parts.push(chunk.subarray(from));
    this.#held += chunk.length - from;
  }
}

function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString("utf8"));
  } catch {
    return undefined;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // An abort only ends the pause early.
  await sleep(ms, undefined, { signal }).catch(ignoreAbort);
}

function ignoreAbort(): void {
  // Nothing is lost: whoever aborted knows.
}
