import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { temporaryFolder } from "../../../../test/support/temporary-folder.ts";

const run = promisify(execFile);
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

export interface Authority {
  /** PEM of a certificate authority that nobody else knows. */
  readonly ca: string;
  /** What it signed for 127.0.0.1. */
  readonly cert: string;
  readonly key: string;
}

/** As a company's own: an authority that signed itself, and a server's certificate by it. */
export async function makeAuthority(): Promise<Authority> {
  await using folder = await temporaryFolder();
  const openssl = (args: readonly string[]) => run("openssl", args, { cwd: folder.path });
  const read = (name: string) => readFile(join(folder.path, name), "utf8");
  await openssl(["req", "-x509", ...KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Example CA"]);
  await openssl([
    ...["req", "-x509", ...KEY, "-keyout", "key", "-out", "crt", "-subj", "/CN=gitlab", "-days", "2"],
    ...["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
  ]);
  return { ca: await read("ca.crt"), cert: await read("crt"), key: await read("key") };
}
