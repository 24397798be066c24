import { z } from "zod";

/**
 * What a plane's process tells the supervisor over its IPC channel, once, when it answers. Without a channel (started by
 * hand, or in a container) nothing is sent.
 */
export const ReadyMessage = z.object({
  kind: z.literal("ready"),
  /** The port it serves on: the edge's public one, the control plane's internal one. */
  port: z.int().positive(),
  /** The port of `/metrics`, `/healthz` and `/readyz`. */
  adminPort: z.int().positive(),
});
export type ReadyMessage = z.infer<typeof ReadyMessage>;

/** What the supervisor asks the control plane, after its ReadyMessage. Each is answered by the reply of its kind and id. */
export const SupervisorRequest = z.discriminatedUnion("kind", [
  /** A link that signs the local owner in to the dashboard, once. */
  z.object({ kind: z.literal("sign-in-link"), id: z.int().positive() }),
  z.object({ kind: z.literal("status"), id: z.int().positive() }),
]);
export type SupervisorRequest = z.infer<typeof SupervisorRequest>;

export const SignInLinkReply = z.object({
  kind: z.literal("sign-in-link"),
  id: z.int().positive(),
  url: z.url(),
});

export const StatusReply = z.object({
  kind: z.literal("status"),
  id: z.int().positive(),
  /** How many functions are deployed, of all owners. */
  deployed: z.int().nonnegative(),
  /** A deployed function of the local owner to try first: the bundled example's where that is deployed. */
  exampleUrl: z.url().nullable(),
  /** How functions are kept apart on this machine, in a sentence for the person who started it. */
  isolation: z.string(),
  /** Whether the token that the control plane was started with counts: the local person may have revoked it. */
  tokenCounts: z.boolean(),
});
export type StatusReply = z.infer<typeof StatusReply>;

export const SupervisorReply = z.discriminatedUnion("kind", [SignInLinkReply, StatusReply]);
export type SupervisorReply = z.infer<typeof SupervisorReply>;
