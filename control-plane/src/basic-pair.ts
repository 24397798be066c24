/** The two parts of an `Authorization` of the scheme Basic (RFC 7617 §2); `undefined` for whatever is none. */
export function basicPair(
  authorization: string | undefined,
): { readonly user: string; readonly password: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/=_-]{1,4000}) *$/i.exec(authorization ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const [user = "", ...password] = Buffer.from(encoded, "base64").toString("utf8").split(":");
  return { user, password: password.join(":") };
}
