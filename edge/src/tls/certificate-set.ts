import { createSecureContext, type SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import { type Certificate, contextOptions } from "./certificate.ts";

/** A context takes 43 KiB and 0.3 ms: all of them would be 430 MB for 10,000 certificates, of which few are in use at once. */
const MAX_CONTEXTS = 1_000;

/** All certificates at a time, by the names that clients ask for. A value: another set replaces it whole. */
export class CertificateSet {
  /** For whoever asks for no name, or for one that no certificate is for. */
  readonly default: Certificate;
  readonly certificates: readonly Certificate[];
  readonly #byHost = new Map<string, Certificate>();
  readonly #contexts = new LRUCache<Certificate, SecureContext>({ max: MAX_CONTEXTS });

  /**
   * Of two certificates for one name, both valid by now, the one that is good for longer is shown: a renewal may lie beside
   * what it renews.
   */
  constructor(certificates: readonly Certificate[]) {
    const chosen = certificates.find(({ name }) => isDefault(name)) ?? certificates[0];
    if (chosen === undefined) throw new Error("a set holds at least one certificate");
    this.default = chosen;
    this.certificates = certificates;
    for (const certificate of certificates) {
      for (const host of certificate.hosts) {
        const other = this.#byHost.get(host);
        if (other === undefined || certificate.expiresMs > other.expiresMs)
          this.#byHost.set(host, certificate);
      }
    }
  }

  get soonestExpiryMs(): number {
    return this.certificates.reduce(
      (soonest, { expiresMs }) => Math.min(soonest, expiresMs),
      Number.POSITIVE_INFINITY,
    );
  }

  /** The exact name first; a wildcard stands for one label. `undefined` where the default has to do. */
  find(serverName: string): Certificate | undefined {
    const host = serverName.toLowerCase();
    const dot = host.indexOf(".");
    return this.#byHost.get(host) ?? (dot > 0 ? this.#byHost.get(`*${host.slice(dot)}`) : undefined);
  }

  contextOf(certificate: Certificate): SecureContext {
    const known = this.#contexts.get(certificate);
    if (known !== undefined) return known;
    const context = createSecureContext(contextOptions(certificate));
    this.#contexts.set(certificate, context);
    return context;
  }
}

function isDefault(name: string): boolean {
  return name === "default" || name.startsWith("default/");
}
