import { BlockList, isIP, SocketAddress } from "node:net";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { z } from "zod";

export type AddressFamily = "ipv4" | "ipv6";

/** Such as `10.0.0.0/8` or `fd00::/8`; one address alone has the longest prefix. */
export interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: AddressFamily;
}

/**
 * What would never match, or not as it reads, is refused: a zone, since addresses are compared without, and an IPv4 address
 * in IPv6 notation, since it is compared as IPv4.
 * @throws KnownError `network-invalid`, in words that follow the network's place
 */
export function parseNetwork(text: string): Network {
  const [address = "", prefix, ...more] = text.split("/");
  const family = familyOf(address);
  if (family === undefined || more.length > 0) {
    throw invalid("is not an IP address or a network such as 10.0.0.0/8");
  }
  if (address.includes("%")) throw invalid("has a zone, which addresses are compared without; leave it out");
  if (isMapped(address)) throw invalid("is an IPv4 address in IPv6 notation; write it as IPv4");
  const longest = family === "ipv4" ? 32 : 128;
  if (prefix === undefined) return { address, prefix: longest, family };
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > longest) {
    throw invalid(`has a prefix that is not 0 to ${longest}`);
  }
  return { address, prefix: Number(prefix), family };
}

/** Addresses, by the networks that they are in. Each family is for itself: `::/0` holds no IPv4 address. */
export class NetworkSet {
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };

  constructor(networks: readonly Network[]) {
    for (const { address, prefix, family } of networks) {
      this.#lists[family].addSubnet(address, prefix, family);
    }
  }

  /** An IPv4 address in IPv6 notation counts as the IPv4 one; what is no address is in no network. */
  has(address: string): boolean {
    const family = familyOf(address);
    if (family === undefined) return false;
    return this.#lists[isMapped(address) ? "ipv4" : family].check(address, family);
  }
}

export function isWithin(network: Network, outer: Network): boolean {
  return (
    network.family === outer.family &&
    network.prefix >= outer.prefix &&
    new NetworkSet([outer]).has(network.address)
  );
}

/**
 * A list in the environment, separated by commas or spaces. All that is wrong with it is told at once, by the places of the
 * entries.
 * @param parse throws a KnownError in words that follow the entry's place
 */
export function listOf<Entry>(parse: (text: string) => Entry) {
  return z.string().transform((text, context): Entry[] => {
    const texts = text.split(/[\s,]+/).filter((entry) => entry !== "");
    if (texts.length === 0) context.addIssue("must hold at least one entry, or be left out");
    const entries: Entry[] = [];
    for (const [i, entry] of texts.entries()) {
      try {
        entries.push(parse(entry));
      } catch (error) {
        if (!(error instanceof KnownError)) throw error;
        context.addIssue(`entry ${i + 1} ${error.message}`);
      }
    }
    return context.issues.length === 0 ? entries : z.NEVER;
  });
}

export const networkList = listOf(parseNetwork);

/** `undefined` for what is no address. */
export function familyOf(address: string): AddressFamily | undefined {
  const version = isIP(address);
  return version === 0 ? undefined : version === 4 ? "ipv4" : "ipv6";
}

/** An address without IPv6 around IPv4, in whatever spelling; any other as it is. */
export function unmapped(address: string): string {
  if (!isMapped(address)) return address;
  return new SocketAddress({ address, family: "ipv6" }).address.slice("::ffff:".length);
}

const MAPPED = new BlockList();
MAPPED.addSubnet("::ffff:0:0", 96, "ipv6");

function isMapped(address: string): boolean {
  return address.includes(":") && MAPPED.check(address, "ipv6");
}

function invalid(problem: string): KnownError {
  return new KnownError("network-invalid", problem);
}
