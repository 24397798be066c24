import { isIP } from "node:net";
import type { Client, Downstream } from "./exchange.ts";
import { type Network, NetworkSet, unmapped } from "./networks.ts";

/** Who says so much stands behind more proxies than anybody has. */
const MAX_HOPS = 16;
/** The longest an address can be written, with brackets, port and an embedded IPv4 address. */
const MAX_ADDRESS_CHARACTERS = 53;

/** The proxies whose word on their own clients counts: an ingress, a load balancer. Everybody else's is overwritten. */
export class TrustedPeers {
  readonly #networks: NetworkSet;

  constructor(networks: readonly Network[]) {
    this.#networks = new NetworkSet(networks);
  }

  trust(address: string): boolean {
    return this.#networks.has(address);
  }
}

/** Who is at the other end of a connection, whatever it will say about others. */
export function connectedClient(
  remoteAddress: string | undefined,
  scheme: Client["scheme"],
  trusted: TrustedPeers,
): Client {
  const address = remoteAddress === undefined ? "unknown" : plainAddress(remoteAddress);
  return { address, scheme, forwardedFor: address, isTrusted: trusted.trust(address) };
}

export interface Forwarded {
  /** The lines of `X-Forwarded-For`, joined by commas. */
  readonly forwardedFor: string | undefined;
  /** `X-Forwarded-Proto`; an empty text where there was more than one. */
  readonly forwardedProto: string | undefined;
}

/**
 * Who stands behind a trusted peer, by its word: from the right, as each proxy appends whom it saw, over those that are
 * trusted themselves, to the first that is not. What stands left of that one is hearsay and ends here; so does what is not
 * an address, with whoever passed it on for the client.
 */
export function downstreamBehind(peer: Client, said: Forwarded, trusted: TrustedPeers): Downstream {
  const scheme = schemeOf(said.forwardedProto) ?? peer.scheme;
  const chain = said.forwardedFor ?? "";
  let { address, forwardedFor } = peer;
  let end = chain.length;
  for (let hops = 0; hops < MAX_HOPS && end > 0; hops++) {
    const comma = chain.lastIndexOf(",", end - 1);
    const hop = parseNode(chain.slice(comma + 1, end));
    if (hop === undefined) break;
    address = hop;
    forwardedFor = `${hop}, ${forwardedFor}`;
    if (!trusted.trust(hop)) break;
    end = comma;
  }
  return { address, scheme, forwardedFor };
}

function schemeOf(proto: string | undefined): Client["scheme"] | undefined {
  const lower = proto?.toLowerCase();
  return lower === "http" || lower === "https" ? lower : undefined;
}

/** An address as proxies write it: plainly, with a port, or in brackets. */
function parseNode(text: string): string | undefined {
  const node = text.trim();
  if (node.length > MAX_ADDRESS_CHARACTERS || node.includes("%")) return undefined;
  const address = isIP(node) === 0 ? withoutPort(node) : node;
  return isIP(address) === 0 ? undefined : plainAddress(address);
}

function withoutPort(node: string): string {
  const match = /^(?:\[([^\]]*)\]|([\d.]+))(?::\d{1,5})?$/.exec(node);
  return match?.[1] ?? match?.[2] ?? "";
}

/** One spelling for one address: no zone, and IPv4 as such where the socket speaks IPv6. */
function plainAddress(address: string): string {
  const zone = address.indexOf("%");
  return unmapped(zone === -1 ? address : address.slice(0, zone));
}
