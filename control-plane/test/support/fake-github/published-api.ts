import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { must } from "@openfaas-cloud/shared/must.ts";
import { Ajv, type ValidateFunction } from "ajv";

type Json = Readonly<Record<string, unknown>>;

interface Operation {
  readonly parameters?: readonly (Json & { readonly in: string; readonly name: string })[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Json }>> };
  readonly responses: Readonly<Record<string, { readonly content?: Json; readonly $ref?: string }>>;
}

interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const FILE = fileURLToPath(import.meta.resolve("@octokit/openapi/package.json")).replace(
  /package\.json$/,
  "generated/api.github.com.json",
);

/** Where the description is wrong, by what stands in its place. */
const CORRECTIONS: Readonly<Record<string, Json>> = {
  // It says that an account is a person or organisation and an enterprise at once.
  "GET /app/installations 200": { type: "array", items: { $ref: "#/components/schemas/installation" } },
};

/** GitHub's own description of its REST API, and whether calls and answers are as it says. */
export class PublishedApi {
  readonly #description: Description = JSON.parse(readFileSync(FILE, "utf8"));
  readonly #ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true, inlineRefs: false });
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor() {
    this.#ajv.addSchema({
      $id: "github",
      components: withNull(this.#description.components) as Json,
    });
  }

  /** The example of this name, to be changed at will. */
  example(name: string): Record<string, unknown> {
    const example = must(this.#description.components["examples"]?.[name], `the example ${name}`);
    return structuredClone((example as { value: Record<string, unknown> }).value);
  }

  /** What is wrong with a call. @param operation `GET /repos/{owner}/{repo}` */
  faultsOfCall(operation: string, query: URLSearchParams, body: unknown): string[] {
    const { parameters = [], requestBody } = this.#find(operation);
    const names = new Set(parameters.map((it) => this.#resolve(it)).map(({ name }) => name));
    const unknown = [...query.keys()]
      .filter((name) => !names.has(name))
      .map((name) => `query ${name} is unknown`);
    const schema = requestBody?.content["application/json"]?.schema;
    if (body === undefined) return unknown;
    if (schema === undefined) return [...unknown, "it takes no body"];
    return [...unknown, ...this.#faults(`${operation} body`, schema, body), ...strangeNames(schema, body)];
  }

  /** What is wrong with an answer. Errors that any call may get need not be listed for it. */
  faultsOfAnswer(operation: string, status: number, body: unknown): string[] {
    const listed = this.#find(operation).responses[status];
    if (listed === undefined) return status >= 400 ? [] : [`status ${status} is unknown`];
    const content = this.#resolve(listed).content as Record<string, { schema?: Json }> | undefined;
    const schema = CORRECTIONS[`${operation} ${status}`] ?? content?.["application/json"]?.schema;
    if (schema === undefined || status >= 300) return [];
    return this.#faults(`${operation} ${status}`, schema, body);
  }

  #faults(name: string, schema: Json, value: unknown): string[] {
    let validate = this.#compiled.get(name);
    if (validate === undefined) {
      validate = this.#ajv.compile(absolute(withNull(schema)) as Json);
      this.#compiled.set(name, validate);
    }
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath || "/"} ${message}`);
  }

  #find(operation: string): Operation {
    const [method = "", path = ""] = operation.split(" ");
    return must(this.#description.paths[path]?.[method.toLowerCase()], `the operation ${operation}`);
  }

  #resolve<T extends object>(it: T): T {
    const ref = (it as { $ref?: string }).$ref;
    if (ref === undefined) return it;
    const [, , group = "", name = ""] = ref.split("/");
    return must(this.#description.components[group]?.[name], ref) as T;
  }
}

/** Large, and the same for all. */
export const PUBLISHED_API = new PublishedApi();

/** OpenAPI 3.0's `nullable` as JSON Schema says it. */
function withNull(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withNull);
  if (typeof schema !== "object" || schema === null) return schema;
  const { nullable, ...rest } = schema as Record<string, unknown>;
  const isFlag = typeof nullable === "boolean";
  const inner = Object.fromEntries(
    Object.entries(isFlag ? rest : schema).map(([name, value]) => [name, withNull(value)]),
  );
  return nullable === true ? { anyOf: [inner, { type: "null" }] } : inner;
}

function absolute(schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"github#/'));
}

/** Properties that the description does not list: GitHub ignores them, and whoever sent them expected something. */
function strangeNames(schema: Json, body: unknown): string[] {
  const { properties } = schema as { properties?: Json };
  if (properties === undefined || typeof body !== "object" || body === null) return [];
  return Object.keys(body)
    .filter((name) => !(name in properties))
    .map((name) => `/${name} is unknown`);
}
