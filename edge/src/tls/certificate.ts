import { constants, createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** A certificate with its key: found to belong together, to be of use to OpenSSL, and to be valid by now, if it is still. */
export interface Certificate {
  /** Where it lies, below the directory of certificates. */
  readonly name: string;
  /** The DNS names it is for, lower case; a wildcard as `*.example.com`. */
  readonly hosts: readonly string[];
  readonly expiresMs: number;
  /** PEM, the certificate itself first. */
  readonly chain: string;
  readonly key: Secret;
}

const WILDCARD_OR_HOST = /^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;
/** One name of a subjectAltName as Node prints it; what might be mistaken for a separator is printed within quotes. */
const ALTERNATIVE_NAME = /(?:^|, )(DNS|[^:,]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** @throws KnownError `certificate-unusable` */
export function parseCertificate(name: string, chain: string, key: string): Certificate {
  const certificate = attempt("The certificate cannot be read", () => new X509Certificate(chain));
  const privateKey = attempt("The key cannot be read", () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new KnownError("certificate-unusable", "The key is not the certificate's");
  }
  if (certificate.validFromDate.getTime() > Date.now()) {
    const validFrom = certificate.validFromDate.toISOString();
    throw new KnownError("certificate-unusable", `The certificate is not valid before ${validFrom}`);
  }
  const parsed = {
    name,
    hosts: hostsOf(certificate),
    expiresMs: certificate.validToDate.getTime(),
    chain,
    key: new Secret(key),
  };
  // Made and let go: OpenSSL's own verdict, on the rest of the chain and on the strength of keys and signatures.
  attempt("The certificate cannot be used", () => createSecureContext(contextOptions(parsed)));
  return parsed;
}

/** What every context of the listener is made with, whichever certificate it shows. */
export function contextOptions({ chain, key }: Pick<Certificate, "chain" | "key">): SecureContextOptions {
  return {
    cert: chain,
    key: key.reveal(),
    minVersion: "TLSv1.2",
    // A client that negotiates anew, again and again, costs us far more than itself. TLS 1.3 has done away with it.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/** The names a client can ask for. The common name is none of them: RFC 9525 leaves it out, and so do clients. */
function hostsOf(certificate: X509Certificate): string[] {
  const hosts = [...(certificate.subjectAltName ?? "").matchAll(ALTERNATIVE_NAME)].flatMap(
    ([, kind, value = ""]) => (kind === "DNS" ? [value.toLowerCase()] : []),
  );
  return hosts.filter((host) => WILDCARD_OR_HOST.test(host));
}

function attempt<Result>(what: string, make: () => Result): Result {
  try {
    return make();
  } catch (error) {
    throw new KnownError("certificate-unusable", `${what}: ${errorMessage(error)}`, { cause: error });
  }
}
