import type { Domains } from "./config.ts";
import type { Link, Refusal } from "./refusal.ts";
import type { RouteTable } from "./route-table.ts";
import type { Host, Target } from "./target.ts";

/** Longest list a page shows. */
const MAX_LISTED = 200;

/** Where the dashboard is for whoever came by this host; without a scheme, since that is not known here. */
export function dashboardAt(domains: Domains, host: Host): string {
  return `system.${domains.system}${host.port}/dashboard/`;
}

/** Nobody answers under this host: says who would. */
export function unknownHost(host: Host, domains: Domains, table: RouteTable | undefined): Refusal {
  const dashboard = dashboardAt(domains, host);
  const functions = `<owner>.${domains.functions}${host.port}/<function>`;
  return {
    status: 404,
    code: "unknown-host",
    message: `Nothing answers at ${host.name}. Functions answer at ${functions}, the dashboard at ${dashboard}.`,
    links: [{ href: `//${dashboard}`, text: "Dashboard" }, ...ownerLinks(host, domains, table)],
  };
}

/** No function of this name: says so where its owner is known, and of the host where it is not. */
export function notFound(
  target: Target & { kind: "function" },
  table: RouteTable,
  domains: Domains,
): Refusal {
  return table.findOwner(target.owner) === undefined
    ? unknownHost(target.host, domains, table)
    : unknownFunction(target.function, target.owner, table);
}

function unknownFunction(name: string, owner: string, table: RouteTable): Refusal {
  const links = functionLinks(owner, table);
  return {
    status: 404,
    code: "unknown-function",
    message: `The owner ${owner} has no function named ${name.slice(0, 63)}.${listed(links)}`,
    links,
  };
}

/** The first page of an owner's host. Lists nothing that its visitor may not know. */
export function ownerIndex(owner: string, table: RouteTable): Refusal {
  const links = functionLinks(owner, table);
  return {
    status: 404,
    code: "no-function-named",
    message: `This is the host of ${owner}'s functions. Each answers at a path of its own: /<function>.${listed(links)}`,
    links,
  };
}

function ownerLinks(host: Host, domains: Domains, table: RouteTable | undefined): Link[] {
  if (table === undefined || !table.settings.listOwners) return [];
  return [...table.owners()].slice(0, MAX_LISTED).map((owner) => {
    const at = `${owner}.${domains.functions}${host.port}`;
    return { href: `//${at}/`, text: at };
  });
}

function functionLinks(owner: string, table: RouteTable): Link[] {
  if (!table.settings.listOwners) return [];
  const names = [...(table.findOwner(owner)?.keys() ?? [])].toSorted().slice(0, MAX_LISTED);
  return names.map((name) => ({ href: `/${name}`, text: name }));
}

function listed(links: readonly Link[]): string {
  return links.length === 0 ? "" : ` There are: ${links.map(({ text }) => text).join(", ")}.`;
}
