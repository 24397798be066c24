import { FunctionName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { FastifyInstance, FastifyReply } from "fastify";
import { type FunctionState, replicasOf, stateOf } from "./function-state.ts";
import type { Runtime } from "./ports/runtime/runtime.ts";
import { type Deployed, listDeployed } from "./ports/store/functions.ts";
import { findOwner } from "./ports/store/owners.ts";
import { findRepository } from "./ports/store/repositories.ts";
import type { Store } from "./ports/store/store.ts";

const CACHE_S = 60;
const MAX_LABEL = 60;

/** `none`: nothing that the public may know of. */
export type BadgeState = FunctionState | "none";

/** White on each of these has a contrast of 4.5 at least (WCAG 2.2, 1.4.3). */
const COLOURS: Readonly<Record<BadgeState, string>> = {
  live: "#2e7d32",
  degraded: "#a85300",
  down: "#c62828",
  none: "#616161",
};

/**
 * Badges for the README of a repository, which need no third party: `/badge/<owner>/<function>.svg`, and for all functions of a
 * repository `/badge/<owner>/repositories/<repository>.svg`.
 *
 * Whoever sees a badge is nobody in particular, so it tells what everybody could find out by calling the function. One that is
 * not public, one in a private repository where that is asked about, and one that does not exist all look the same.
 */
export function serveBadges(
  server: FastifyInstance,
  { store, runtime }: { readonly store: Store; readonly runtime: Pick<Runtime, "list"> },
): void {
  server.get<{ Params: { owner: string; file: string } }>(
    "/badge/:owner/:file",
    async ({ params }, reply) => {
      const owner = parseOwner(params.owner);
      const name = FunctionName.safeParse(withoutSuffix(params.file));
      if (owner === undefined || !name.success) return reply.callNotFound();
      const found = await findOwner(store, owner);
      const functions = found ? await listDeployed(store, { ownerIds: [found.id], name: name.data }) : [];
      return sendBadge(reply, name.data, stateOfAll(functions, runtime));
    },
  );

  server.get<{ Params: { owner: string; "*": string } }>(
    "/badge/:owner/repositories/*",
    async ({ params }, reply) => {
      const owner = parseOwner(params.owner);
      const name = RepositoryName.safeParse(withoutSuffix(params["*"]));
      if (owner === undefined || !name.success) return reply.callNotFound();
      const repository = await findRepository(store, owner, name.data);
      const isPublic = repository?.private === 0 && repository.unlinked_at === null;
      const functions = isPublic ? await listDeployed(store, { repositoryId: repository.id }) : [];
      return sendBadge(reply, name.data, stateOfAll(functions, runtime));
    },
  );
}

/** Links of the original write owners as they write themselves. */
function parseOwner(text: string): OwnerSlug | undefined {
  return OwnerSlug.safeParse(text.toLowerCase()).data;
}

function withoutSuffix(file: string): string | undefined {
  return file.endsWith(".svg") ? file.slice(0, -".svg".length) : undefined;
}

function stateOfAll(functions: readonly Deployed[], runtime: Pick<Runtime, "list">): BadgeState {
  const states = new Set(
    functions
      .filter(({ revision }) => revision.parsed.access === "public")
      .map((one) => stateOf(one, replicasOf(one, runtime))),
  );
  if (states.size === 0) return "none";
  const [only] = states;
  return states.size === 1 && only !== undefined ? only : "degraded";
}

function sendBadge(reply: FastifyReply, label: string, state: BadgeState): FastifyReply {
  return reply
    .type("image/svg+xml; charset=utf-8")
    .header("cache-control", `public, max-age=${CACHE_S}`)
    .header("cross-origin-resource-policy", "cross-origin")
    .send(renderBadge(label, state));
}

/** An SVG without scripts, styles and anything to load, so that it shows under any content policy. */
export function renderBadge(label: string, state: BadgeState): string {
  const shown = label.length > MAX_LABEL ? `${label.slice(0, MAX_LABEL - 1).toWellFormed()}…` : label;
  const left = textWidth(shown) + 12;
  const right = textWidth(state) + 12;
  const name = escapeXml(`${label}: ${state}`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + right}" height="20" role="img" aria-label="${name}">`,
    `<title>${name}</title>`,
    `<clipPath id="r"><rect width="${left + right}" height="20" rx="3"/></clipPath>`,
    `<g clip-path="url(#r)"><rect width="${left}" height="20" fill="#444"/>`,
    `<rect x="${left}" width="${right}" height="20" fill="${COLOURS[state]}"/></g>`,
    '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11" text-anchor="middle">',
    textElement(shown, left / 2),
    textElement(state, left + right / 2),
    "</g></svg>",
  ].join("");
}

/** The width is given, so that a font of other widths does not run out of its half. */
function textElement(text: string, middle: number): string {
  return `<text x="${middle}" y="14" textLength="${textWidth(text)}">${escapeXml(text)}</text>`;
}

/** Pixels, about those of Verdana at 11. */
function textWidth(text: string): number {
  return Math.round([...text].reduce((width, character) => width + (NARROW.has(character) ? 4.2 : 7.2), 0));
}

const NARROW: ReadonlySet<string> = new Set("fijlrt.-/ ");

/** Controls have no place in XML, not even escaped. */
function escapeXml(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\uFFFE\uFFFF]/gu, "")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&apos;");
}
