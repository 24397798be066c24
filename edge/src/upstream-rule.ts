import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { familyOf, isWithin, listOf, type Network, NetworkSet, parseNetwork } from "./networks.ts";

/** Networks and names that replicas may be at, as the operator lists them. */
export interface UpstreamPlaces {
  /** Such as `10.0.0.0/8` or `fd00::/8`. */
  readonly networks: readonly Network[];
  /** Such as `gateway.openfaas`, or `*.functions.svc.cluster.local` for any name below. */
  readonly hosts: readonly string[];
}

/**
 * Where no replica is, whatever the operator lists: unspecified, multicast and reserved addresses; those where clouds keep the
 * credentials of their machines; and IPv6 addresses that stand for an IPv4 one somewhere else.
 */
const NEVER = [
  "0.0.0.0/8",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "ff00::/8",
  // Link-local, with the metadata of most clouds; Alibaba's, within the shared 100.64.0.0/10; Amazon's by IPv6.
  "169.254.0.0/16",
  "100.100.100.200",
  "fe80::/10",
  "fd00:ec2::254",
  // For IPv4 ones: compatible (the unspecified among them), translated, by NAT64 of everybody and of one network, Teredo, 6to4.
  "::/96",
  "::ffff:0:0:0/96",
  "64:ff9b::/96",
  "64:ff9b:1::/48",
  "2001::/32",
  "2002::/16",
].map(parseNetwork);

/** Within ::/96, and for no IPv4 address. The form that URLs have it in. */
const IPV6_LOOPBACK = "::1";

/**
 * Decides which upstreams a route may name. Whoever gets a route of his making into the feed must not reach through the edge
 * what only the edge can reach. Names are compared and not resolved: who lists one trusts whoever answers for it.
 */
export class UpstreamRule {
  readonly #never = new NetworkSet(NEVER);
  readonly #networks: NetworkSet;
  readonly #hosts: ReadonlySet<string>;
  readonly #suffixes: readonly string[];

  constructor({ networks, hosts }: UpstreamPlaces) {
    this.#networks = new NetworkSet(networks);
    this.#hosts = new Set(hosts.filter((host) => !host.startsWith("*.")));
    this.#suffixes = hosts.filter((host) => host.startsWith("*.")).map((host) => host.slice(1));
  }

  /** @param url an origin, as the schema of routes asks for */
  allows(url: string): boolean {
    // The form that the connection is made by: `http://0x7f.1` is 127.0.0.1 here as well.
    const { hostname } = new URL(url);
    const address = withoutBrackets(hostname);
    if (familyOf(address) === undefined) return this.#allowsName(hostname);
    return this.#networks.has(address) && (address === IPV6_LOOPBACK || !this.#never.has(address));
  }

  #allowsName(name: string): boolean {
    return this.#hosts.has(name) || this.#suffixes.some((suffix) => name.endsWith(suffix));
  }
}

/** Replicas on this machine: what the `process` runtime has. */
export const LOOPBACK: UpstreamPlaces = {
  networks: ["127.0.0.0/8", "::1/128"].map(parseNetwork),
  hosts: [],
};

/** `EDGE_UPSTREAM_NETWORKS`. */
export const upstreamNetworks = listOf((text): Network => {
  const network = parseNetwork(text);
  const holdsLoopback = new NetworkSet([network]).has(IPV6_LOOPBACK);
  if (!holdsLoopback && NEVER.some((outer) => isWithin(network, outer))) {
    throw misplaced("is where no upstream may be, whatever is listed; leave it out");
  }
  return network;
});

const HOST = /^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/** `EDGE_UPSTREAM_HOSTS`: names, or `*.` and a name. What would never be compared with a name is refused. */
export const upstreamHosts = listOf((text): string => {
  const host = text.toLowerCase();
  const [address = ""] = host.split("/", 1);
  const hostname = URL.parse(`http://${host.replace(/^\*\./, "any.")}`)?.hostname ?? "";
  if ([address, withoutBrackets(hostname)].some((each) => familyOf(each) !== undefined)) {
    throw misplaced("is an address, and those are compared with EDGE_UPSTREAM_NETWORKS alone; list it there");
  }
  if (hostname === "" || !HOST.test(host))
    throw misplaced("is not a host name, nor such as *.example.internal");
  return host;
});

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function misplaced(problem: string): KnownError {
  return new KnownError("upstream-place-invalid", problem);
}
