import { BlockList, isIP } from "node:net";
import { z } from "zod";

/** Networks and names that replicas may be at, as the operator lists them. */
export interface UpstreamPlaces {
  /** Such as `10.0.0.0/8` or `fd00::/8`. */
  readonly networks: readonly Network[];
  /** Such as `gateway.openfaas`, or `*.functions.svc.cluster.local` for any name below. */
  readonly hosts: readonly string[];
}

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/**
 * Where no replica is, whatever the operator lists: unspecified, multicast and reserved addresses; link-local ones, where
 * clouds keep the credentials of their machines; and IPv6 addresses that stand for an IPv4 one somewhere else.
 */
const NEVER = [
  "0.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "64:ff9b::/96",
  "2002::/16",
  "fd00:ec2::254/128",
  "fe80::/10",
  "ff00::/8",
];

/**
 * Decides which upstreams a route may name. Whoever gets a route of his making into the feed must not reach through the edge
 * what only the edge can reach. Names are compared and not resolved: who lists one trusts whoever answers for it.
 */
export class UpstreamRule {
  readonly #never = blockListOf(NEVER.map(parseNetwork));
  readonly #networks: BlockList;
  readonly #hosts: ReadonlySet<string>;
  readonly #suffixes: readonly string[];

  constructor({ networks, hosts }: UpstreamPlaces) {
    this.#networks = blockListOf(networks);
    this.#hosts = new Set(hosts.filter((host) => !host.startsWith("*.")));
    this.#suffixes = hosts.filter((host) => host.startsWith("*.")).map((host) => host.slice(1));
  }

  /** @param url an origin, as the schema of routes asks for */
  allows(url: string): boolean {
    // The form that the connection is made by: `http://0x7f.1` is 127.0.0.1 here as well.
    const { hostname } = new URL(url);
    const address = hostname.replace(/^\[|\]$/g, "");
    const version = isIP(address);
    if (version === 0) return this.#allowsName(hostname);
    const family = version === 4 ? "ipv4" : "ipv6";
    return this.#networks.check(address, family) && !this.#never.check(address, family);
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

const list = z.string().transform((text) =>
  text
    .toLowerCase()
    .split(",")
    .map((item) => item.trim()),
);

/** `EDGE_UPSTREAM_NETWORKS`: networks with their prefix length, separated by commas. */
export const upstreamNetworks = list.transform((items, context): Network[] => {
  const networks = items.map(findNetwork);
  if (networks.every((network) => network !== undefined)) return networks;
  context.addIssue("must be networks with a prefix length, such as 10.0.0.0/8, separated by commas");
  return z.NEVER;
});

const HOST = /^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/** `EDGE_UPSTREAM_HOSTS`: names, or `*.` and a name, separated by commas. */
export const upstreamHosts = list.refine(
  (items) => items.every((item) => HOST.test(item)),
  "must be host names, or such as *.example.internal, separated by commas",
);

function findNetwork(text: string): Network | undefined {
  const [address = "", prefixText = "", ...rest] = text.split("/");
  const version = isIP(address);
  const prefix = Number(prefixText);
  const isWhole = version !== 0 && rest.length === 0 && /^\d{1,3}$/.test(prefixText);
  if (!isWhole || prefix > (version === 4 ? 32 : 128)) return undefined;
  return { address, prefix, family: version === 4 ? "ipv4" : "ipv6" };
}

function parseNetwork(text: string): Network {
  const network = findNetwork(text);
  if (network === undefined) throw new Error(`not a network: ${text}`);
  return network;
}

function blockListOf(networks: readonly Network[]): BlockList {
  const blockList = new BlockList();
  for (const { address, prefix, family } of networks) blockList.addSubnet(address, prefix, family);
  return blockList;
}
