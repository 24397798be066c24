import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "../logger.ts";
import { deliveriesReceived } from "../metrics.ts";
import type { RawDelivery, RemoteHost, RemoteHostKind } from "../ports/source-host/remote-host.ts";
import { storeDelivery } from "../ports/store/deliveries.ts";
import type { Store } from "../ports/store/store.ts";
import { type BodyLimits, type BodyRefusal, DeliveryBodies } from "./delivery-bodies.ts";

const LIMITS: BodyLimits = {
  maxBytes: 25 * 1024 * 1024,
  readMs: 10_000,
  maxBodies: 256,
  largeBytes: 256 * 1024,
  maxLargeBodies: 8,
  maxLargeInMemory: 4,
};
/** How long a client that was refused before it had sent everything may go on sending, so that it comes to read the answer. */
const LINGER_MS = 1_000;

interface Endpoint {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly kinds: readonly RemoteHostKind[];
}

const ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map([
  ["/github-event", { name: "github", title: "GitHub", kinds: ["github"] }],
  ["/gitlab-event", { name: "gitlab", title: "GitLab", kinds: ["gitlab"] }],
  [
    "/bitbucket-event",
    { name: "bitbucket", title: "Bitbucket", kinds: ["bitbucket-cloud", "bitbucket-datacenter"] },
  ],
]);

interface Answer {
  readonly status: number;
  /** Why, in a word of ours: a label of the metric. */
  readonly label: string;
  readonly body: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Where source hosts that live elsewhere deliver what happened there. */
export interface DeliveryReceiver {
  /** Whether the request is for it, by its target. */
  isFor(url: string | undefined): boolean;
  /** Answers one request. Never rejects; the response is always ended, or its connection is. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

/**
 * Verify over the bytes as they came, store, answer. Nothing is parsed here, nothing of a delivery that is not authentic is
 * kept, and what is answered 202 is on the disk.
 */
export function openDeliveryReceiver(options: {
  readonly store: Store;
  /** Read anew for each delivery: hosts come while the platform runs. */
  readonly hosts: { readonly remote: readonly RemoteHost[] };
  /** Hears that a delivery was stored. */
  readonly onStored: () => void;
  /** Where people go on after they installed the GitHub App. */
  readonly dashboardUrl: string;
  readonly logger: Logger;
  readonly limits?: Partial<BodyLimits>;
  readonly now?: () => number;
}): DeliveryReceiver {
  const { hosts, logger, onStored } = options;
  const bodies = new DeliveryBodies({ ...LIMITS, ...options.limits });
  const now = options.now ?? Date.now;

  async function answerTo(request: IncomingMessage, { title, kinds }: Endpoint): Promise<Answer | undefined> {
    const encoding = request.headers["content-encoding"] ?? "identity";
    if (encoding.toLowerCase() !== "identity") return ENCODED;
    const candidates = hosts.remote.filter(({ kind }) => kinds.includes(kind));
    if (candidates.length === 0) return noHost(title);
    const answer = await bodies.take(request, (body) =>
      accept({ headers: headersOf(request), body }, candidates),
    );
    return typeof answer === "string" ? REFUSALS[answer] : answer;
  }

  async function accept(raw: RawDelivery, candidates: readonly RemoteHost[]): Promise<Answer> {
    for (const host of candidates) {
      const verdict = await host.verify(raw);
      if (verdict.kind === "authentic") return keep(host, verdict, raw.body);
      logger.info({ host: host.instance, reason: verdict.reason }, "a delivery is refused");
    }
    return FORGED;
  }

  async function keep(
    { instance }: RemoteHost,
    { deliveryId, event }: { readonly deliveryId: string | undefined; readonly event: string },
    body: Buffer,
  ): Promise<Answer> {
    const id = await storeDelivery(options.store, { instance, deliveryId, event, body }, now());
    if (id === undefined) return DUPLICATE;
    onStored();
    return { status: 202, label: "stored", body: { result: "stored", delivery: id } };
  }

  return {
    isFor: (url) => endpointOf(url) !== undefined,

    async handle(request, response) {
      const endpoint = endpointOf(request.url);
      if (!endpoint) return send(request, response, NOTHING_HERE);
      if (isInstallReturn(request, endpoint)) {
        count(endpoint, "redirected");
        return send(request, response, redirect(options.dashboardUrl));
      }
      const answer =
        request.method === "POST"
          ? await answerTo(request, endpoint).catch((error: unknown) => {
              logger.error({ err: error }, "a delivery could not be stored");
              return NOT_STORED;
            })
          : WRONG_METHOD;
      count(endpoint, answer?.label ?? "broken-off");
      if (answer) await send(request, response, answer);
      else response.destroy();
    },
  };
}

const ENCODED: Answer = {
  status: 415,
  label: "encoded",
  body: { error: "Deliveries are taken as they are: send the body without a content-encoding." },
};
const FORGED: Answer = {
  status: 401,
  label: "not-authentic",
  body: { error: "This delivery is refused: it is not signed with a secret that is known here." },
};
const NOT_STORED: Answer = {
  status: 503,
  label: "not-stored",
  body: { error: "The platform cannot store deliveries for now. Send it again later." },
  headers: { "retry-after": "30" },
};
const DUPLICATE: Answer = {
  status: 202,
  label: "duplicate",
  body: { result: "This delivery was stored before; nothing is done twice." },
};
const WRONG_METHOD: Answer = {
  status: 405,
  label: "wrong-method",
  body: { error: "Deliveries are sent by POST." },
  headers: { allow: "POST" },
};
const NOTHING_HERE: Answer = {
  status: 404,
  label: "unknown",
  body: { error: "There is nothing at this address." },
};
const REFUSALS: Readonly<Record<BodyRefusal, Answer | undefined>> = {
  "too-large": {
    status: 413,
    label: "too-large",
    body: { error: "A delivery has 25 MiB at most." },
  },
  "too-slow": {
    status: 408,
    label: "too-slow",
    body: { error: "The delivery did not arrive in time. Send it again." },
  },
  busy: {
    status: 503,
    label: "busy",
    body: { error: "Too many deliveries arrive at once. Send it again in a few seconds." },
    headers: { "retry-after": "5" },
  },
  // Nobody is there to be answered.
  "broken-off": undefined,
};

function noHost(title: string): Answer {
  return {
    status: 404,
    label: "no-host",
    body: { error: `${title} is not set up as a source host of this platform.` },
  };
}

function redirect(to: string): Answer {
  return { status: 303, label: "redirected", body: {}, headers: { location: to } };
}

function endpointOf(url: string | undefined): Endpoint | undefined {
  return ENDPOINTS.get(url?.split("?", 1)[0] ?? "");
}

/** GitHub sends the browser of whoever installed the App to its setup URL, which is this address where an App is an old one. */
function isInstallReturn({ method, url }: IncomingMessage, { name }: Endpoint): boolean {
  if (name !== "github" || method !== "GET") return false;
  return new URLSearchParams(url?.split("?")[1]).get("setup_action") === "install";
}

/** A header that came more than once is a list, so that no value can hide behind another. */
function headersOf({ headersDistinct }: IncomingMessage): RawDelivery["headers"] {
  return Object.fromEntries(
    Object.entries(headersDistinct).map(([name, values = []]) => [
      name,
      values.length === 1 ? values[0] : values,
    ]),
  );
}

function count({ name }: Endpoint, answer: string): void {
  deliveriesReceived.inc({ endpoint: name, answer });
}

async function send(request: IncomingMessage, response: ServerResponse, answer: Answer): Promise<void> {
  const text = `${JSON.stringify(answer.body)}\n`;
  response.on("error", () => undefined);
  response.writeHead(answer.status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    ...(request.complete ? {} : { connection: "close" }),
    ...answer.headers,
  });
  response.write(text);
  // A connection that is closed while bytes of the client are on their way takes the answer with it.
  if (!request.complete) await thrownAway(request);
  response.end();
}

/** Reads on without keeping anything, until the client is done or was given its time. */
async function thrownAway(request: IncomingMessage): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, LINGER_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    request.on("end", done).on("close", done).on("error", done).resume();
  });
}
