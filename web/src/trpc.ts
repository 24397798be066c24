import type { AppRouter } from "@openfaas-cloud/control-plane/router.ts";
import {
  createTRPCClient,
  httpBatchLink,
  httpSubscriptionLink,
  splitLink,
  TRPCClientError,
} from "@trpc/client";
import { createTRPCContext, type inferOutput, type TRPCOptionsProxy } from "@trpc/tanstack-react-query";

import type { Connection } from "./connection.ts";

const url = "/api/trpc";

export const { TRPCProvider, useTRPC, useTRPCClient } = createTRPCContext<AppRouter>();

export function createClient(connection: Connection) {
  return createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === "subscription",
        true: httpSubscriptionLink({ url }),
        false: httpBatchLink({ url, fetch: connection.fetch, maxItems: 20, maxURLLength: 4000 }),
      }),
    ],
  });
}

/** The code a procedure refused with; `undefined` where no answer came at all. */
export function refusalCode(error: unknown): string | undefined {
  return error instanceof TRPCClientError ? (error as TRPCClientError<AppRouter>).data?.code : undefined;
}

type Api = TRPCOptionsProxy<AppRouter>;

export type Person = NonNullable<inferOutput<Api["session"]["current"]>>;
export type Platform = inferOutput<Api["platform"]["about"]>;
export type Repository = inferOutput<Api["repositories"]["list"]>[number];
export type SourceHost = inferOutput<Api["hosts"]["list"]>[number];
export type SessionItem = inferOutput<Api["session"]["list"]>[number];
export type AccessToken = inferOutput<Api["tokens"]["list"]>[number];
export type HostHealth = inferOutput<Api["hosts"]["status"]>["hosts"][number];
export type HeldRemoval = inferOutput<Api["hosts"]["status"]>["held"][number];
export type AuditItem = inferOutput<Api["audit"]["list"]>["events"][number];
export type GitHubAppForm = inferOutput<Api["hosts"]["newGitHubApp"]>;
export type FunctionSummary = inferOutput<Api["functions"]["list"]>[number];
export type FunctionDetail = inferOutput<Api["functions"]["get"]>;
export type FunctionUsage = inferOutput<Api["functions"]["usage"]>;
export type RunSummary = inferOutput<Api["runs"]["list"]>["runs"][number];
export type RunDetail = inferOutput<Api["runs"]["get"]>;
export type Stage = RunDetail["stages"][number];
