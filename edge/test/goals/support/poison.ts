import type { Route, RouteSnapshot } from "@openfaas-cloud/shared/route.ts";
import { NO_KEYS, route, snapshotOf } from "../../support/feed-server.ts";
import type { Random } from "./random.ts";

/** What is wrong with a snapshot, and why an edge has to say that it is. */
export interface Poison {
  readonly name: string;
  /** Values of the label `reason` that fit. */
  readonly reasons: readonly string[];
  /** The next snapshot after `good`, spoilt; one line, without its newline. */
  spoil(good: RouteSnapshot, random: Random): string | Buffer;
}

/** The table after the one served: as good as that, one version on, and another one for whoever looks. */
export function nextOf(good: RouteSnapshot): RouteSnapshot {
  const routes = good.routes.map((each) => ({ ...each, revision: `${each.revision}+` }));
  return snapshotOf(routes, { epoch: good.epoch, version: good.version + 1, settings: good.settings });
}

type Routes = readonly Route[];

/** Whole and right in every other way. */
function withRoutes(change: (routes: Routes, random: Random) => Routes): Poison["spoil"] {
  return (good, random) => {
    const { routes, epoch, version } = nextOf(good);
    return JSON.stringify(snapshotOf(change(routes, random), { epoch, version }));
  };
}

/** Changed after its checksums were made. */
function altered(change: (next: RouteSnapshot) => object): Poison["spoil"] {
  return (good) => {
    const next = nextOf(good);
    return JSON.stringify({ ...next, ...change(next) });
  };
}

function says(value: unknown): Poison["spoil"] {
  return () => (typeof value === "string" ? value : JSON.stringify(value));
}

function astray(url: string): Poison {
  return {
    name: `an upstream at ${url}`,
    reasons: ["upstream", "schema"],
    spoil: withRoutes((routes, random) => {
      const at = random.between(0, routes.length);
      return routes.map((each, i) => (i === at ? { ...each, upstreams: [{ id: "astray", url }] } : each));
    }),
  };
}

const FLIPPED: Poison = {
  name: "one bit flipped",
  reasons: ["schema", "checksum", "stale", "collapse", "upstream", "gap"],
  spoil: (good, random) => {
    const bytes = Buffer.from(JSON.stringify(nextOf(good)));
    for (;;) {
      const at = random.between(0, bytes.length);
      const flipped = (bytes[at] ?? 0) ^ (1 << random.between(0, 8));
      // A newline would make two lines of it, which is another poison. The name of what is optional may be lost: the rest of
      // it is as it was then.
      const name = bytes.indexOf('"headChecksum"');
      if (flipped === 10 || (at >= name && at < name + 14)) continue;
      bytes[at] = flipped;
      return bytes;
    }
  },
};

const TRUNCATED: Poison = {
  name: "truncated",
  reasons: ["schema"],
  spoil: (good, random) => {
    const text = JSON.stringify(nextOf(good));
    return text.slice(0, random.between(1, text.length));
  },
};

/** Wherever it comes from. */
export const POISONS: readonly Poison[] = [
  // Each is another one every time.
  ...Array.from({ length: 6 }, () => FLIPPED),
  ...Array.from({ length: 3 }, () => TRUNCATED),
  { name: "a wrong checksum", reasons: ["checksum"], spoil: altered(() => ({ checksum: "0".repeat(64) })) },
  {
    name: "the checksum of the table before",
    reasons: ["checksum"],
    spoil: (good) => JSON.stringify({ ...nextOf(good), checksum: good.checksum }),
  },
  {
    name: "a version that it was not made with",
    reasons: ["checksum"],
    spoil: altered(({ version }) => ({ version: version + 90 })),
  },
  {
    name: "an epoch that it was not made with",
    reasons: ["checksum"],
    spoil: altered(() => ({ epoch: "epoch-0" })),
  },
  {
    name: "one route twice",
    reasons: ["checksum"],
    spoil: withRoutes((routes) => [...routes, ...routes.slice(0, 1)]),
  },
  {
    name: "two routes of one name",
    reasons: ["checksum"],
    spoil: withRoutes((routes) => [
      ...routes,
      ...routes.slice(0, 1).map((each) => ({ ...each, revision: "other" })),
    ]),
  },
  {
    name: "a key twice, the second time another value",
    reasons: ["checksum", "schema"],
    spoil: (good) => JSON.stringify(nextOf(good)).replace('"owner":"', '"owner":"mallory","owner":"x'),
  },
  {
    name: "routes twice, the second time none",
    reasons: ["checksum"],
    spoil: (good) => `${JSON.stringify(nextOf(good)).slice(0, -1)},"routes":[]}`,
  },
  ...[
    "http://169.254.169.254",
    "http://10.0.0.1:8080",
    "http://192.168.0.1",
    "http://172.16.0.1",
    "http://[fe80::1]",
    "http://[fd00::1]",
    "http://0.0.0.0:1",
    "http://metadata.google.internal",
    "http://127.0.0.1:1/path",
    "http://user:secret@127.0.0.1:1",
    "file:///etc/passwd",
    "ftp://127.0.0.1",
  ].map(astray),
  { name: "an empty object", reasons: ["schema"], spoil: says({}) },
  { name: "an empty list", reasons: ["schema"], spoil: says([]) },
  { name: "an empty string", reasons: ["schema"], spoil: says('""') },
  { name: "null", reasons: ["schema"], spoil: says("null") },
  { name: "a number", reasons: ["schema"], spoil: says("7") },
  {
    name: "an object of Kubernetes",
    reasons: ["schema"],
    spoil: says({ kind: "List", apiVersion: "v1", items: [{ kind: "Service", metadata: { name: "f" } }] }),
  },
  {
    name: "a configuration of Envoy",
    reasons: ["schema"],
    spoil: says({ version_info: "1", resources: [] }),
  },
  { name: "a snapshot without routes or anything", reasons: ["schema"], spoil: says({ kind: "snapshot" }) },
  { name: "a page of HTML", reasons: ["schema"], spoil: says("<html><body>502 Bad Gateway</body></html>") },
  {
    name: "nested two hundred thousand deep",
    reasons: ["schema"],
    spoil: says(`${"[".repeat(200_000)}${"]".repeat(200_000)}`),
  },
  {
    name: "routes nested fifty thousand deep",
    reasons: ["schema"],
    spoil: (good) =>
      JSON.stringify({ ...nextOf(good), routes: ["@"] }).replace(
        '"@"',
        `${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`,
      ),
  },
  {
    name: "an owner of a million letters",
    reasons: ["schema"],
    spoil: altered(({ routes }) => ({
      routes: routes.map((each, i) => (i === 0 ? { ...each, owner: "a".repeat(1e6) } : each)),
    })),
  },
  {
    name: "an epoch of a million letters",
    reasons: ["schema"],
    spoil: altered(() => ({ epoch: "e".repeat(1e6) })),
  },
  {
    name: "a route all of whose keys are in its prototype",
    reasons: ["schema"],
    spoil: (good) =>
      JSON.stringify({ ...nextOf(good), routes: ["@"] }).replace(
        '"@"',
        `{"__proto__":${JSON.stringify(good.routes[0])}}`,
      ),
  },
  {
    name: "a snapshot in a prototype",
    reasons: ["schema"],
    spoil: (good) => `{"__proto__":${JSON.stringify(nextOf(good))}}`,
  },
  {
    name: "an owner of the name of a property of every object",
    reasons: ["schema"],
    spoil: altered(({ routes }) => ({
      routes: routes.map((each, i) => (i === 0 ? { ...each, owner: "__proto__" } : each)),
    })),
  },
  { name: "a version that is no number", reasons: ["schema"], spoil: altered(() => ({ version: "2" })) },
  { name: "a negative version", reasons: ["schema"], spoil: altered(() => ({ version: -1 })) },
  {
    name: "a version beyond all numbers",
    reasons: ["schema"],
    spoil: (good) => JSON.stringify(nextOf(good)).replace(/"version":\d+/, '"version":1e400'),
  },
  { name: "a limit of nothing", reasons: ["schema"], spoil: altered(zeroLimits) },
  {
    name: "keys that are none",
    reasons: ["schema"],
    spoil: altered(() => ({ settings: { ...NO_KEYS, keys: [{ kty: "oct" }] } })),
  },
  {
    name: "bytes that are no UTF-8",
    reasons: ["schema", "checksum"],
    spoil: (good) => {
      const bytes = Buffer.from(JSON.stringify(nextOf(good)));
      bytes[bytes.indexOf('"revision":"') + 12] = 0xff;
      return bytes;
    },
  },
];

function zeroLimits({ routes }: RouteSnapshot): object {
  return { routes: routes.map((each) => ({ ...each, limits: { ...each.limits, maxConcurrency: 0 } })) };
}

/** What only a disk can bring: on the wire an empty line says nothing. */
export const DISK_POISONS: readonly Poison[] = [
  ...POISONS,
  { name: "nothing", reasons: ["schema"], spoil: () => "" },
  { name: "zeroes", reasons: ["schema"], spoil: () => Buffer.alloc(4_096) },
  {
    name: "ten tables, one after the other",
    reasons: ["schema"],
    spoil: (good) => JSON.stringify(nextOf(good)).repeat(10),
  },
  {
    name: "every route ten times",
    reasons: ["checksum"],
    spoil: withRoutes((routes) => Array.from({ length: 10 }, () => routes).flat()),
  },
];

/** What is poison only to an edge that has a table. */
export const WIRE_POISONS: readonly Poison[] = [
  ...POISONS,
  { name: "no route at all", reasons: ["collapse"], spoil: withRoutes(() => []) },
  {
    name: "a third of the routes",
    reasons: ["collapse"],
    spoil: withRoutes((routes) => routes.slice(0, routes.length / 3)),
  },
  {
    name: "ten times the routes",
    reasons: ["collapse"],
    spoil: withRoutes((routes) => [
      ...routes,
      ...Array.from({ length: routes.length * 9 }, (_, i) => route(`mallory/f${i}`, ["http://127.0.0.1:1"])),
    ]),
  },
  {
    name: "the version before",
    reasons: ["stale"],
    spoil: ({ routes, epoch, version }) =>
      JSON.stringify(snapshotOf(routes, { epoch, version: version - 1 })),
  },
  {
    name: "a change that leaves a version out",
    reasons: ["gap"],
    spoil: ({ version, checksum }) =>
      JSON.stringify({ kind: "change", version: version + 2, checksum, upserts: [], removals: [] }),
  },
  {
    name: "a change with a wrong checksum",
    reasons: ["checksum"],
    spoil: ({ version, checksum }) =>
      JSON.stringify({
        kind: "change",
        version: version + 1,
        checksum,
        upserts: [],
        removals: [{ owner: "alice", function: "f0" }],
      }),
  },
  {
    name: "a heartbeat of another version",
    reasons: ["gap"],
    spoil: ({ version }) => JSON.stringify({ kind: "heartbeat", version: version + 5 }),
  },
];
