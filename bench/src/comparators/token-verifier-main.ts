import { createServer } from "node:http";
import { must } from "@openfaas-cloud/shared/must.ts";
import { SESSION_ISSUER } from "@openfaas-cloud/shared/session.ts";
import { importJWK, jwtVerify } from "jose";

// A process of its own: `token-verifier-main.ts <port> <key as JWK> <audience>`.
const [, , port, jwk, audience] = process.argv;
const key = await importJWK(JSON.parse(must(jwk, "a key")), "ES256");
const claims = { issuer: SESSION_ISSUER, audience: must(audience, "an audience") };

createServer(async (request, response) => {
  const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
  const counts = await jwtVerify(token, key, claims).then(
    () => true,
    () => false,
  );
  response.writeHead(counts ? 200 : 401).end();
}).listen(Number(port), "127.0.0.1");
