import type { z } from "zod";
import type { Route } from "./fake-bitbucket-server.ts";

interface Described<Query, Body, Given> {
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  /** Of success; 200 where it is left out. */
  readonly status?: 201 | 204;
  readonly given: z.ZodType<Given>;
  /** What stands for a part of the path, where that may hold slashes or has to look in some way. */
  readonly parts?: Readonly<Record<string, string>>;
}

/**
 * Atlassian's OpenAPI descriptions of its REST APIs come as types. A route that is made here is held to them by the compiler: the
 * path is published, with this method; the query and the body have no other names and no other types, and neither has the answer.
 *
 * @typeParam Paging what any list takes in its query, which the description says once and for all in prose.
 * @typeParam Unsaid what is there and the description leaves out, as the compiler calls it.
 */
export function publishedRoutes<
  Paths extends object,
  Paging extends string,
  Unsaid extends string = never,
>(options: {
  /** Where the paths of the description begin. */
  readonly base: string;
  /** By status: what it answers that it does not take. */
  readonly errors: Readonly<Record<number, z.ZodType>>;
}) {
  const { base, errors } = options;
  return function route<
    Path extends keyof Paths & string,
    Method extends keyof Paths[Path] & ("get" | "post"),
    Query,
    Body,
    Given,
  >(
    method: Method,
    path: Path,
    described: Described<
      Asks<keyof QueryOf<Paths[Path][Method]> | Paging, Query>,
      As<BodyOf<Paths[Path][Method]>, Body, Unsaid>,
      As<AnswerOf<Paths[Path][Method]>, Given, Unsaid>
    >,
    answer: Route["answer"],
  ): Route {
    const { query, body, status = 200, given, parts = {} } = described;
    const pattern = path.replaceAll(
      /\{(\w+)\}/g,
      (_, name: string) => `(?<${name}>${parts[name] ?? "[^/]+"})`,
    );
    return {
      method: method === "get" ? "GET" : "POST",
      path: new RegExp(`^${base.replaceAll(".", "\\.")}${pattern}$`),
      ...(query === undefined ? {} : { query }),
      ...(body === undefined ? {} : { body: { as: "json", schema: body } }),
      answers: { [status]: given, ...errors },
      answer,
    };
  };
}

type QueryOf<Operation> = Operation extends { readonly parameters: { readonly query?: infer Query } }
  ? [NonNullable<Query>] extends [never]
    ? Record<never, never>
    : NonNullable<Query>
  : Record<never, never>;

/** By name only: in a query all is text. */
type Asks<Names, Ours> = [Exclude<keyof Ours, Names>] extends [never]
  ? Ours
  : { readonly "is not as published": Exclude<keyof Ours, Names> };

type BodyOf<Operation> = Operation extends { readonly requestBody?: infer Request }
  ? JsonOf<NonNullable<Request>>
  : never;

type AnswerOf<Operation> = Operation extends { readonly responses: infer Responses }
  ? { [Status in keyof Responses & (200 | 201 | 204)]: JsonOf<Responses[Status]> }[keyof Responses &
      (200 | 201 | 204)]
  : never;

/** Under whichever media type: some say "anything" where they mean JSON. */
type JsonOf<Message> = Message extends { readonly content: infer Content }
  ? Content[keyof Content]
  : undefined;

/** `Ours`, or where it is not as published, what no schema can be: the names that are strange and those of another type. */
type As<Theirs, Ours, Unsaid> = unknown extends Theirs
  ? Ours
  : [Exclude<Faults<Ours, Theirs>, Unsaid>] extends [never]
    ? Ours
    : { readonly "is not as published": Exclude<Faults<Ours, Theirs>, Unsaid> };

/**
 * Goes by what we have, which ends somewhere; what is published refers to itself. `type` is left out, since the types narrow it to the
 * name of the schema where the vendor answers a kind of it, and so is null, which the descriptions never tell of.
 */
type Faults<Ours, Theirs> = Ours extends null | undefined
  ? never
  : Ours extends readonly (infer One)[]
    ? Theirs extends readonly (infer Other)[]
      ? Faults<One, Other>
      : "no list"
    : Ours extends object
      ? {
          [Name in keyof Ours & string]-?: Name extends "type"
            ? never
            : Name extends NamesOf<Theirs>
              ? FaultsAt<Name, Faults<Ours[Name], NonNullable<Theirs[Name]>>>
              : IsOpen<Theirs> extends true
                ? never
                : Name;
        }[keyof Ours & string]
      : Ours extends Theirs
        ? never
        : "another type";

type FaultsAt<Name extends string, Found> = Found extends string ? `${Name}: ${Found}` : never;

/** Those that are written out. */
type NamesOf<T> = keyof { [Name in keyof T as string extends Name ? never : Name]: true };

/** Whether any other names may stand beside those. The types lose inherited ones there, so that nothing can be said against a name. */
type IsOpen<T> = string extends keyof T ? true : false;
