import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Queries } from "../ports/store/store.ts";
import type { GitHubAppMaker } from "../remote-hosts.ts";
import type { Sealing } from "../sealing.ts";
import { addressOf, type CallerPorts, identify } from "./caller.ts";

const PURPOSE = ["github-app"];
/** GitHub's code is good for an hour. */
const STATE_MS = 60 * 60_000;
const CONVERT_MS = 30_000;

const State = z.object({ subject: z.string(), expiresAt: z.number() });
const Query = z.object({ code: z.string().min(1).max(500), state: z.string().min(1).max(2000) });

/** What tells GitHub's answer from one that somebody else made up: who asked, sealed. */
export function sealAppState(sealing: Sealing, subject: string): string {
  return sealing.seal(PURPOSE, JSON.stringify({ subject, expiresAt: Date.now() + STATE_MS }));
}

/** Where GitHub sends the operator's browser when the App is made. It goes on to the dashboard, whatever came of it. */
export function serveGitHubApp(
  server: FastifyInstance,
  ports: CallerPorts & {
    readonly sealing: Sealing;
    readonly gitHubApps: GitHubAppMaker;
    readonly audit: AuditSink;
    readonly logger: Logger;
  },
): void {
  server.get("/github-app/created", { exposeHeadRoute: false }, async (request, reply) => {
    const to = (outcome: string) =>
      reply.header("cache-control", "no-store").redirect(`/dashboard/hosts?${outcome}`, 303);
    const query = Query.safeParse(request.query);
    const calling = await identify(request.raw, ports);
    if (!query.success || calling.kind !== "known" || !calling.caller.isOperator) return to("problem=stale");
    const { subject } = calling.caller;
    if (openAppState(ports.sealing, query.data.state)?.subject !== subject) return to("problem=stale");
    try {
      const recorded = (transaction: Queries, instance: string) =>
        ports.audit.append(
          {
            actor: subject,
            action: "source-host.add",
            object: instance,
            result: "a GitHub App was made",
            address: addressOf(request.raw),
          },
          transaction,
        );
      const signal = AbortSignal.timeout(CONVERT_MS);
      const host = await ports.gitHubApps.complete(query.data.code, recorded, signal);
      if (host === undefined) return to("problem=known");
      return to(`added=${encodeURIComponent(host.instance)}`);
    } catch (error) {
      ports.logger.error({ err: error }, "a GitHub App could not be taken over");
      return to(
        error instanceof KnownError && error.kind === "sign-in-refused"
          ? "problem=refused"
          : "problem=failed",
      );
    }
  });
}

function openAppState(sealing: Sealing, state: string): z.infer<typeof State> | undefined {
  try {
    const opened = State.parse(JSON.parse(sealing.open(PURPOSE, state)));
    return opened.expiresAt > Date.now() ? opened : undefined;
  } catch {
    // Not ours, or changed on its way.
    return undefined;
  }
}
