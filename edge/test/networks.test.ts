import { describe, expect, test } from "vitest";
import { NetworkSet, networkList, parseNetwork } from "../src/networks.ts";

describe("a network is read", () => {
  test.each<[string, ReturnType<typeof parseNetwork>]>([
    ["10.0.0.0/8", { address: "10.0.0.0", prefix: 8, family: "ipv4" }],
    ["0.0.0.0/0", { address: "0.0.0.0", prefix: 0, family: "ipv4" }],
    ["2001:DB8::/32", { address: "2001:DB8::", prefix: 32, family: "ipv6" }],
    ["192.0.2.1", { address: "192.0.2.1", prefix: 32, family: "ipv4" }],
    ["::1", { address: "::1", prefix: 128, family: "ipv6" }],
  ])("%s", (text, network) => {
    expect(parseNetwork(text)).toEqual(network);
  });
});

describe("no network is", () => {
  const [nothing, prefix, zone, mapped] = [
    /is not an IP address or a network/,
    /prefix/,
    /zone/,
    /IPv4 address in IPv6/,
  ];
  test.each<[string, RegExp]>([
    ["", nothing],
    ["/8", nothing],
    ["10.0.0", nothing],
    ["10.0.0/8", nothing],
    ["010.0.0.1", nothing],
    ["10.0.0.0/8/8", nothing],
    ["10.0.0.0/8;::/0", nothing],
    ["ingress.local", nothing],
    ["[::1]", nothing],
    ["10.0.0.0/", prefix],
    ["10.0.0.0/33", prefix],
    ["10.0.0.0/-1", prefix],
    ["10.0.0.0/0x8", prefix],
    ["::/129", prefix],
    ["fe80::1%eth0", zone],
    ["fe80::1%eth0/64", zone],
    ["::ffff:10.0.0.0/104", mapped],
    ["::FFFF:a00:1", mapped],
    ["0:0:0:0:0:ffff:10.0.0.1", mapped],
    ["0000::ffff:0a00:0001/128", mapped],
  ])("%s", (text, problem) => {
    expect(() => parseNetwork(text)).toThrow(problem);
  });
});

describe("a list of networks", () => {
  test("is separated by commas, spaces or both, as people write it", () => {
    const written = "10.0.0.0/8, 192.0.2.1 ::1,\n";
    expect(networkList.parse(written)).toEqual(["10.0.0.0/8", "192.0.2.1", "::1"].map(parseNetwork));
  });

  test("is told all that is wrong with it, by places and not by values", () => {
    const { error } = networkList.safeParse("10.0.0.0/99,::1,nobody");
    expect(error?.issues.map(({ message }) => message)).toEqual([
      "entry 1 has a prefix that is not 0 to 32",
      "entry 3 is not an IP address or a network such as 10.0.0.0/8",
    ]);
  });

  test("has an entry", () => {
    expect(networkList.safeParse(" , ").error?.issues[0]?.message).toContain("at least one");
  });
});

describe("in a set of networks", () => {
  const set = new NetworkSet(["10.0.0.0/8", "192.0.2.1", "fd00::/8"].map(parseNetwork));
  test.each<[string, string, boolean]>([
    ["an address of one is", "10.255.0.1", true],
    ["one named alone is", "192.0.2.1", true],
    ["the one beside it is not", "192.0.2.2", false],
    ["an IPv6 address of one is", "fd12::1", true],
    ["another one is not", "2001:db8::1", false],
    ["an IPv4 address in IPv6 notation is", "::ffff:10.1.2.3", true],
    ["so it is in any spelling", "0:0:0:0:0:FFFF:a01:203", true],
    ["the same of another network is not", "::ffff:11.1.2.3", false],
    ["an IPv6 address that only holds an IPv4 one is not", "::10.1.2.3", false],
    ["what is no address is not", "unknown", false],
  ])("%s", (_what, address, isIn) => {
    expect(set.has(address)).toBe(isIn);
  });

  test("of all IPv6 addresses there is no IPv4 address", () => {
    const all = new NetworkSet([parseNetwork("::/0")]);
    expect(all.has("2001:db8::1")).toBe(true);
    expect(all.has("10.0.0.1")).toBe(false);
    expect(all.has("::ffff:10.0.0.1")).toBe(false);
  });

  test("without any there is none", () => {
    expect(new NetworkSet([]).has("127.0.0.1")).toBe(false);
  });
});
