import { sanitiseLogText } from "../../ports/log-store/sanitise.ts";
import type { SecretStore } from "../../ports/secret-store/secret-store.ts";

const MASK = "[secret]";
/** Shorter ones stand in every text. */
const MIN_CHARACTERS = 8;

export type SecretMask = (text: string) => string;

/**
 * Takes an owner's secrets out of what leaves the platform: what a function printed before it ended, and a reason may quote,
 * is shown to everybody who may see the commit.
 */
export async function openSecretMask(secrets: SecretStore, ownerId: string): Promise<SecretMask> {
  const names = (await secrets.list(ownerId)).map(({ name }) => name);
  const values = Object.values(await secrets.reveal(ownerId, names));
  const forms = new Set(values.flatMap(formsOf).filter((form) => form.length >= MIN_CHARACTERS));
  // A longer one may hold a shorter one.
  const ordered = [...forms].toSorted((a, b) => b.length - a.length);
  return (text) => ordered.reduce((masked, form) => masked.replaceAll(form, MASK), text);
}

/** A value as it may stand in a line of text, and as the usual encodings write it. */
function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const whole = [value, ...[0, 1, 2].flatMap((offset) => base64At(bytes, offset))];
  const lines = value.split(/\r\n|\r|\n/);
  return [
    ...[...whole, ...lines].map((form) => sanitiseLogText(form).trim()),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    encodeURIComponent(value.toWellFormed()),
    JSON.stringify(value).slice(1, -1),
  ];
}

/** What base64 and base64url make of the bytes wherever they stand in a longer text: all but what neighbours have a part in. */
function base64At(bytes: Buffer, offset: number): string[] {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const whole = shifted.subarray(0, shifted.length - (shifted.length % 3));
  const skipped = offset === 0 ? 0 : offset + 1;
  return (["base64", "base64url"] as const).map((form) => whole.toString(form).slice(skipped));
}
