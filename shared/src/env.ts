import { z } from "zod";
import { KnownError } from "./known-error.ts";

/**
 * Makes a config from the environment by a schema whose keys are the variables' names. All problems are reported in one
 * error of kind `config-invalid`, each with the variable it concerns; values are never quoted, since any may be a secret.
 */
export function readEnv<Schema extends z.ZodObject>(
  schema: Schema,
  environment: Readonly<Record<string, string | undefined>>,
): z.infer<Schema> {
  const given = Object.fromEntries(
    Object.keys(schema.shape).map((name) => [name, environment[name] === "" ? undefined : environment[name]]),
  );
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ code, path, message }) => {
    const name = path.join(".");
    return `  ${name}: ${code === "invalid_type" && given[name] === undefined ? "is needed" : message}`;
  });
  throw new KnownError("config-invalid", `The environment cannot be used:\n${problems.join("\n")}`);
}

/** A TCP port as text; 0 lets the kernel choose. */
export const port = z
  .string()
  .regex(/^\d{1,5}$/, "must be a port number, 0 to 65535")
  .transform(Number)
  .refine((value) => value <= 65_535, "must be a port number, 0 to 65535");

/** A whole number as text, within what a timer can wait for. */
export const positiveInteger = z
  .string()
  .regex(/^\d{1,10}$/, "must be a whole number")
  .transform(Number)
  .refine((value) => value >= 1 && value < 2 ** 31, "must be 1 to 2147483647");

/** A value that must not show in a log, an error or a dump; `reveal()` is the only way to it. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "[secret]";
  }
}

/** A secret given in the environment. */
export const secret = z
  .string()
  .min(16, "must be at least 16 characters")
  .transform((value) => new Secret(value));
