import { execFile } from "node:child_process";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import type { TlsConfig } from "../../src/config.ts";
import { type Answer, type CallOptions, tempDirectory } from "./servers.ts";

const run = promisify(execFile);

export interface KeyPair {
  /** PEM. */
  readonly chain: string;
  readonly key: string;
}

/** A certificate that vouches for itself; one for -1 days has expired. Both ends are at a full second. */
export async function makeCertificate(
  hosts: readonly string[],
  days = 30,
  validFromMs = Date.now(),
): Promise<KeyPair> {
  await using directory = await tempDirectory();
  const at = (name: string): string => join(directory.path, name);
  const names = hosts.map((host) => `DNS:${host}`).join(",");
  await run("openssl", [
    ...["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
    ...["-keyout", at("key"), "-out", at("csr"), "-subj", "/CN=test"],
    ...(hosts.length === 0 ? [] : ["-addext", `subjectAltName=${names}`]),
  ]);
  await writeFile(at("index"), "");
  await writeFile(at("config"), AUTHORITY);
  const period = ["-startdate", asn1Time(validFromMs), "-enddate", asn1Time(validFromMs + days * DAY_MS)];
  const files = ["-config", "config", "-keyfile", "key", "-in", "csr", "-out", "crt"];
  await run("openssl", ["ca", "-batch", "-selfsign", "-notext", ...files, ...period], {
    cwd: directory.path,
  });
  return { chain: await readFile(at("crt"), "utf8"), key: await readFile(at("key"), "utf8") };
}

const DAY_MS = 86_400_000;

/** What `openssl ca` wants to know; the other ways to sign cannot say from when. */
const AUTHORITY = `
[ca]
default_ca = test
[test]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = subject
copy_extensions = copy
[subject]
commonName = supplied
`;

/** Such as 20300131235959Z. */
function asn1Time(ms: number): string {
  return `${new Date(ms).toISOString().replaceAll(/\D/g, "").slice(0, 14)}Z`;
}

/** As careful tools write: each file whole, the certificate before its key. */
export async function install(directory: string, name: string, { chain, key }: KeyPair): Promise<void> {
  for (const [ending, text] of [
    ["crt", chain],
    ["key", key],
  ] as const) {
    const path = join(directory, `${name}.${ending}`);
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  }
}

export function tlsConfig(certificates: string): TlsConfig {
  return { port: 0, descriptors: [], certificates, lookEveryMs: 20 };
}

export interface SecureClient extends Disposable {
  readonly socket: TLSSocket;
  /** Of the certificate that was shown. */
  readonly shown: string;
  readonly text: () => string;
  readonly closed: Promise<void>;
}

/** A handshake as a client does it; whether it believes the certificate is not its business. */
export async function secureClient(port: number, options: ConnectionOptions = {}): Promise<SecureClient> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options }, resolve);
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", reject);
  const closed = new Promise<void>((ended) => socket.once("close", () => ended()));
  await promise;
  return {
    socket,
    shown: pem(socket.getPeerX509Certificate()?.toString() ?? ""),
    text: () => text,
    closed,
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** A request by https that believes `trusted` alone, and only for the host it asks for. */
export function secureCall(
  port: number,
  url: `${string}/${string}`,
  trusted: string,
  options: CallOptions = {},
): Promise<Answer> {
  const [host = ""] = url.split("/", 1);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const asked = request({
    host: "127.0.0.1",
    port,
    path: url.slice(host.length),
    servername: host,
    ca: trusted,
    method: options.method ?? "GET",
    headers: { host, ...options.headers },
    agent: false,
  });
  asked.on("error", reject);
  asked.on("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        rawHeaders: response.rawHeaders,
        trailers: response.trailers,
        body: Buffer.concat(chunks).toString(),
      }),
    );
  });
  asked.end(options.body);
  return promise;
}

/** One spelling of a PEM text. */
export function pem(text: string): string {
  return text.replaceAll(/\s/g, "");
}
