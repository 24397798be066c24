import { execFileSync } from "node:child_process";
import { copyFile, mkdir, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";
import { parseCertificate } from "../src/tls/certificate.ts";
import { findPairs } from "../src/tls/certificate-files.ts";
import { CertificateSet } from "../src/tls/certificate-set.ts";
import { CertificateWatch, type CertificateWatchOptions } from "../src/tls/certificate-watch.ts";
import { install, type KeyPair, makeCertificate, pem } from "./support/certificates.ts";
import { type TempDirectory, tempDirectory, until } from "./support/servers.ts";

const LOOK_EVERY_MS = 20;

interface Watched extends AsyncDisposable {
  readonly watch: CertificateWatch;
  readonly replaced: CertificateSet[];
  /** What is logged as an error or a warning. */
  readonly complaints: string[];
  /** The certificate that a name is shown now. */
  shown(host: string): string;
}

async function watched(directory: string, more: Partial<CertificateWatchOptions> = {}): Promise<Watched> {
  const complaints: string[] = [];
  const replaced: CertificateSet[] = [];
  const watch = await CertificateWatch.open({
    directory,
    lookEveryMs: LOOK_EVERY_MS,
    logger: pino({ level: "warn" }, { write: (line: string) => void complaints.push(line) }),
    onReplaced: (set) => void replaced.push(set),
    ...more,
  });
  return {
    watch,
    replaced,
    complaints,
    shown: (host) => pem((watch.set.find(host) ?? watch.set.default).chain),
    [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
  };
}

async function directoryOf(pairs: Readonly<Record<string, KeyPair>>): Promise<TempDirectory> {
  const directory = await tempDirectory();
  for (const [name, pair] of Object.entries(pairs)) await install(directory.path, name, pair);
  return directory;
}

part("openssl")("certificates", () => {
  test("are found by the exact name first, then by the wildcard of one label, in any case", async () => {
    const made = async (name: string, hosts: string[]) => {
      const { chain, key } = await makeCertificate(hosts);
      return parseCertificate(name, chain, key);
    };
    const set = new CertificateSet([
      await made("a-first", ["console.test"]),
      await made("exact", ["alice.fn.test", "other.test"]),
      await made("wild", ["*.fn.test", "fn.test"]),
    ]);
    const find = (host: string): string | undefined => set.find(host)?.name;
    expect(find("alice.fn.test")).toBe("exact");
    expect(find("ALICE.fn.TEST")).toBe("exact");
    expect(find("bob.fn.test")).toBe("wild");
    expect(find("fn.test")).toBe("wild");
    for (const host of ["x.bob.fn.test", ".fn.test", "fn.tes", "*.other.test", "x.other.test", "", "test"]) {
      expect(find(host), host).toBeUndefined();
    }
    expect(set.default.name).toBe("a-first");
  });

  test("a default is the one named so, or else the first by name", async () => {
    const pair = await makeCertificate(["a.test"]);
    await using named = await directoryOf({ a: pair, default: pair, z: pair });
    await using folder = await directoryOf({ a: pair, "default/tls": pair });
    await using unnamed = await directoryOf({ z: pair, b: pair });
    for (const [directory, name] of [
      [named, "default"],
      [folder, "default/tls"],
      [unnamed, "b"],
    ] as const) {
      await using here = await watched(directory.path);
      expect(here.watch.set.default.name).toBe(name);
    }
  });

  test("of two for one name the one that is good for longer is shown", async () => {
    const [short, long] = [await makeCertificate(["a.test"], 5), await makeCertificate(["a.test"], 50)];
    await using directory = await directoryOf({ a: short, b: long, c: short });
    await using here = await watched(directory.path);
    expect(here.shown("a.test")).toBe(pem(long.chain));
    expect(Math.round((here.watch.set.soonestExpiryMs - Date.now()) / 86_400_000)).toBe(5);
  });

  test("one that has expired is served, for want of a better one, and told of", async () => {
    const expired = await makeCertificate(["a.test"], -1);
    await using directory = await directoryOf({ a: expired });
    await using here = await watched(directory.path);
    expect(here.shown("a.test")).toBe(pem(expired.chain));
    expect(here.complaints.join()).toContain("certificate has expired");
  });

  test("one that is not valid yet is left out, however long it will be good for, until it is", async () => {
    const validFromMs = Math.ceil(Date.now() / 1_000) * 1_000 + 3_000;
    const [now, next] = [
      await makeCertificate(["a.test"], 5),
      await makeCertificate(["a.test"], 50, validFromMs),
    ];
    await using directory = await directoryOf({ a: now, b: next });
    await using here = await watched(directory.path, { retryEveryMs: 50 });
    expect(here.shown("a.test")).toBe(pem(now.chain));
    expect(here.complaints[0]).toContain(
      `b: The certificate is not valid before ${new Date(validFromMs).toISOString()}`,
    );
    await until(() => here.shown("a.test") === pem(next.chain), "the one that has become valid", 15_000);
    expect(Date.now()).toBeGreaterThanOrEqual(validFromMs);
    expect(here.replaced).toHaveLength(1);
  });

  test("one that is put in another's place before it is valid leaves that one served until it is", async () => {
    const old = await makeCertificate(["a.test"]);
    await using directory = await directoryOf({ a: old });
    await using here = await watched(directory.path, { retryEveryMs: 50 });
    const validFromMs = Math.ceil(Date.now() / 1_000) * 1_000 + 3_000;
    const next = await makeCertificate(["a.test"], 30, validFromMs);
    await install(directory.path, "a", next);
    await until(
      () => here.complaints.join().includes("a: The certificate is not valid before"),
      "the complaint",
    );
    expect(here.shown("a.test")).toBe(pem(old.chain));
    await until(() => here.shown("a.test") === pem(next.chain), "the one that has become valid", 15_000);
    expect(Date.now()).toBeGreaterThanOrEqual(validFromMs);
  });

  test("where none is valid yet there is no listener, and the start says from when", async () => {
    const tomorrowMs = Math.ceil(Date.now() / 1_000) * 1_000 + 86_400_000;
    await using directory = await directoryOf({ a: await makeCertificate(["a.test"], 30, tomorrowMs) });
    await expect(watched(directory.path)).rejects.toThrow(
      `a: The certificate is not valid before ${new Date(tomorrowMs).toISOString()}`,
    );
  });

  test("one without names can be a default, and nothing else", async () => {
    const nameless = await makeCertificate([]);
    await using directory = await directoryOf({ a: nameless });
    await using here = await watched(directory.path);
    expect(here.watch.set.find("test")).toBeUndefined();
    expect(here.watch.set.default.hosts).toEqual([]);
  });

  test("are found as operators, certbot and Kubernetes lay them down, and nothing else is", async () => {
    const pair = await makeCertificate(["a.test"]);
    await using directory = await directoryOf({ plain: pair, "mounted/tls": pair });
    const at = (path: string): string => join(directory.path, path);
    // certbot: links to files elsewhere.
    await mkdir(at(".archive/shop.test"), { recursive: true });
    await mkdir(at("shop.test"));
    for (const [file, text] of [
      ["fullchain", pair.chain],
      ["privkey", pair.key],
    ] as const) {
      await writeFile(at(`.archive/shop.test/${file}1.pem`), text);
      await symlink(`../.archive/shop.test/${file}1.pem`, at(`shop.test/${file}.pem`));
    }
    await writeFile(at("shop.test/cert.pem"), pair.chain);
    // Kubernetes: a link to a link to the generation of the moment.
    await mkdir(at("secret/..2026_01_01"), { recursive: true });
    await writeFile(at("secret/..2026_01_01/tls.crt"), pair.chain);
    await writeFile(at("secret/..2026_01_01/tls.key"), pair.key);
    await symlink("..2026_01_01", at("secret/..data"));
    for (const file of ["tls.crt", "tls.key"]) await symlink(`..data/${file}`, at(`secret/${file}`));
    await symlink("secret", at("linked"));
    // Somebody else's, too deep, and no certificates at all.
    await writeFile(at("ca.crt"), pair.chain);
    await writeFile(at("mounted/ca.crt"), pair.chain);
    await writeFile(at("README"), "not a certificate");
    await mkdir(at("mounted/deeper"));
    await copyFile(at("plain.key"), at("mounted/deeper/plain.key"));
    await symlink("nowhere", at("dangling"));
    expect((await findPairs(directory.path)).pairs.map(({ name }) => name)).toEqual([
      "linked/tls",
      "mounted/tls",
      "plain",
      "secret/tls",
      "shop.test",
    ]);
    await using here = await watched(directory.path);
    expect(here.watch.set.certificates).toHaveLength(5);
    expect(here.complaints).toEqual([]);
  });

  test("a renewal is adopted once, whether files are replaced, written over or links are turned", async () => {
    const [first, second, third, fourth] = (await Promise.all(
      Array.from({ length: 4 }, () => makeCertificate(["a.test"])),
    )) as [KeyPair, KeyPair, KeyPair, KeyPair];
    await using directory = await directoryOf({ ".one/tls": first, ".two/tls": fourth });
    const at = (path: string): string => join(directory.path, path);
    await symlink(".one", at("now"));
    await using here = await watched(directory.path);
    expect(here.shown("a.test")).toBe(pem(first.chain));

    await install(directory.path, "now/tls", second);
    await until(() => here.shown("a.test") === pem(second.chain), "the files that were put in place");
    await writeFile(at("now/tls.crt"), third.chain);
    await writeFile(at("now/tls.key"), third.key);
    await until(() => here.shown("a.test") === pem(third.chain), "the files that were written over");
    await symlink(".two", at(".next"));
    await rename(at(".next"), at("now"));
    await until(() => here.shown("a.test") === pem(fourth.chain), "what the link leads to now");
    await install(directory.path, "b", first);
    await until(() => here.watch.set.certificates.length === 2, "another one beside it");
    expect(here.replaced).toHaveLength(4);
  });

  test("a certificate is not taken with the key of the one before, while its own is on the way", async () => {
    const [old, next] = [await makeCertificate(["a.test"]), await makeCertificate(["a.test"])];
    await using directory = await directoryOf({ a: old });
    await using here = await watched(directory.path);
    await writeFile(join(directory.path, "a.crt"), next.chain);
    await until(() => here.watch.rejections === 1, "the look between the two");
    expect(here.shown("a.test")).toBe(pem(old.chain));
    await writeFile(join(directory.path, "a.key"), next.key);
    await until(() => here.shown("a.test") === pem(next.chain), "the pair");
    expect(here.watch.rejections).toBe(1);
  });

  test("one that cannot be used leaves the one before in place, and keeps nobody else waiting", async () => {
    const [old, renewed] = [await makeCertificate(["a.test"]), await makeCertificate(["b.test"])];
    await using directory = await directoryOf({ a: old, b: await makeCertificate(["b.test"]) });
    await using here = await watched(directory.path);
    const at = (path: string): string => join(directory.path, path);
    const spoilers: [string, () => Promise<unknown>][] = [
      ["The certificate cannot be read", () => writeFile(at("a.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n")],
      ["The certificate cannot be read", () => writeFile(at("a.crt"), "")],
      ["The certificate cannot be read: larger", () => writeFile(at("a.crt"), old.chain.repeat(1_000))],
      [
        "The certificate cannot be used",
        () => writeFile(at("a.crt"), `${old.chain}${old.chain.slice(0, 200)}`),
      ],
      ["The certificate cannot be read: ENOENT", () => unlink(at("a.crt"))],
      [
        "The certificate cannot be read: not a file",
        async () => {
          await unlink(at("a.crt"));
          execFileSync("mkfifo", [at("a.crt")]);
        },
      ],
      ["The key cannot be read", () => writeFile(at("a.key"), "nonsense")],
      ["The key is not the certificate's", () => install(directory.path, "a", { ...old, key: renewed.key })],
    ];
    for (const [i, [problem, spoil]] of spoilers.entries()) {
      await install(directory.path, "a", old);
      await until(() => here.complaints.length === i, "what was complained about");
      await spoil();
      await until(() => here.watch.rejections === i + 1, `the complaint about "${problem}"`);
      expect(here.complaints.at(-1)).toContain(problem);
      expect(here.shown("a.test"), problem).toBe(pem(old.chain));
    }
    await install(directory.path, "b", renewed);
    await until(() => here.shown("b.test") === pem(renewed.chain), "the renewal of the other");
    expect(here.shown("a.test")).toBe(pem(old.chain));
    const keyLines = old.key.split("\n").filter((line) => line.length > 40);
    for (const line of keyLines) expect(here.complaints.join("")).not.toContain(line);
  });

  test("a directory that cannot be read keeps what was known below it, and nobody else waiting", async () => {
    const hosts = ["z.test", "b.test", "c.test", "b.test", "z.test", "d.test"];
    const [top, below, certbots, next, renewed, added] = (await Promise.all(
      hosts.map((host) => makeCertificate([host])),
    )) as [KeyPair, KeyPair, KeyPair, KeyPair, KeyPair, KeyPair];
    await using directory = await directoryOf({
      z: top,
      ".one/tls": below,
      ".one/old": below,
      ".two/tls": next,
    });
    const at = (path: string): string => join(directory.path, path);
    const lead = async (target: string): Promise<void> => {
      await symlink(target, at(".next"));
      await rename(at(".next"), at("sub"));
    };
    for (const generation of [".one", ".two"]) {
      await writeFile(at(`${generation}/fullchain.pem`), certbots.chain);
      await writeFile(at(`${generation}/privkey.pem`), certbots.key);
    }
    await lead(".one");
    await using here = await watched(directory.path);
    const names = (): string[] => here.watch.set.certificates.map(({ name }) => name);

    // Whoever we are, ELOOP is what we get.
    await lead("sub");
    await until(() => here.watch.rejections === 1, "the complaint");
    expect(here.complaints[0]).toContain("sub: The directory cannot be read: ELOOP");
    await install(directory.path, "z", renewed);
    await install(directory.path, "d", added);
    await until(() => here.shown("z.test") === pem(renewed.chain), "the renewal beside it");
    await until(() => here.watch.set.find("d.test") !== undefined, "the new one beside it");
    expect(here.shown("b.test")).toBe(pem(below.chain));
    expect(here.shown("c.test")).toBe(pem(certbots.chain));
    expect(names()).toEqual(["d", "sub", "sub/old", "sub/tls", "z"]);

    await lead(".two");
    await until(() => here.shown("b.test") === pem(next.chain), "what can be read again");
    expect(names()).toEqual(["d", "sub", "sub/tls", "z"]);
    const { rejections } = here.watch;
    await unlink(at("d.key"));
    await until(() => here.watch.set.find("d.test") === undefined, "another change");
    expect(here.watch.rejections).toBe(rejections);
  });

  test("a directory that cannot be read at the start is complained of, and the others' are served", async () => {
    const a = await makeCertificate(["a.test"]);
    await using directory = await directoryOf({ "a/tls": a });
    await symlink("loop", join(directory.path, "loop"));
    await using here = await watched(directory.path);
    expect(here.watch.set.certificates.map(({ name }) => name)).toEqual(["a/tls"]);
    expect(here.complaints[0]).toContain("loop: The directory cannot be read: ELOOP");
    expect(here.watch.rejections).toBe(1);
    await using empty = await directoryOf({});
    await symlink("loop", join(empty.path, "loop"));
    await expect(watched(empty.path)).rejects.toThrow(/loop: The directory cannot be read: ELOOP/);
  });

  test("one whose key is taken away is dropped, but never the last", async () => {
    const [a, b] = [await makeCertificate(["a.test"]), await makeCertificate(["b.test"])];
    await using directory = await directoryOf({ a, b });
    await using here = await watched(directory.path);
    await unlink(join(directory.path, "a.key"));
    await until(() => here.watch.set.find("a.test") === undefined, "the certificate to go");
    await unlink(join(directory.path, "b.key"));
    await until(() => here.watch.rejections === 1, "the complaint");
    expect(here.shown("b.test")).toBe(pem(b.chain));
    await rm(directory.path, { recursive: true });
    await until(() => here.watch.rejections === 2, "the complaint about the directory");
    expect(here.shown("b.test")).toBe(pem(b.chain));
  });

  test("without one that can be used there is no listener, and all problems are told", async () => {
    const [a, b] = [await makeCertificate(["a.test"]), await makeCertificate(["b.test"])];
    await using mixedUp = await directoryOf({ a: { ...a, key: b.key }, b: { ...b, chain: "" } });
    await expect(watched(mixedUp.path)).rejects.toThrow(
      /EDGE_TLS_CERTIFICATES[\s\S]*a: The key is not[\s\S]*b: The certificate cannot/,
    );
    await using empty = await tempDirectory();
    await expect(watched(empty.path)).rejects.toThrow(/no key with its certificate/);
    await expect(watched(join(empty.path, "absent"))).rejects.toThrow(/cannot be read: ENOENT/);
    await using oneGood = await directoryOf({ a, b: { ...b, key: a.key } });
    await using here = await watched(oneGood.path);
    expect(here.watch.set.certificates.map(({ name }) => name)).toEqual(["a"]);
    expect(here.watch.rejections).toBe(1);
  });

  test("contexts are made once for each certificate, not for each connection", async () => {
    const { chain, key } = await makeCertificate(["a.test"]);
    const certificate = parseCertificate("a", chain, key);
    const set = new CertificateSet([certificate]);
    expect(set.contextOf(certificate)).toBe(set.contextOf(certificate));
    expect(JSON.stringify(certificate)).not.toContain("PRIVATE KEY");
  });
});
