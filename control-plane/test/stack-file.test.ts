import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { requireHandler } from "../src/pipeline/handler-folder.ts";
import { parseStackFile, readStackFile } from "../src/pipeline/stack-file/stack-file.ts";
import type { Rejected } from "../src/rejected.ts";

const MiB = 1024 * 1024;
/** What faas-cli would replace by a variable of its own environment. */
const VARIABLE = "$" + "{HOME}";

/** A stack file of one function with further lines below it. */
function stack(...lines: readonly string[]): string {
  return [
    "version: 1.0",
    "provider:",
    "  name: openfaas",
    "functions:",
    "  hello:",
    "    lang: node22",
    "    handler: ./hello",
    ...lines.map((line) => `    ${line}`),
    "",
  ].join("\n");
}

function parseHello(...lines: readonly string[]) {
  const { functions, ignored } = parseStackFile(stack(...lines));
  return { spec: functions[0], ignored };
}

describe("a stack file", () => {
  test("says what the platform's defaults do not", () => {
    expect(parseHello()).toEqual({
      spec: {
        name: "hello",
        lang: "node22",
        handler: "hello",
        environment: {},
        secrets: [],
        labels: {},
        annotations: {},
        buildArgs: {},
        memoryLimitBytes: 128 * MiB,
        replicas: 1,
        healthPath: "/_/health",
        healthInitialDelayMs: 0,
        access: "public",
      },
      ignored: [],
    });
  });

  test("is honoured in every key the platform knows", () => {
    const { spec, ignored } = parseHello(
      "environment: { MODE: fast, N: 0010, ON: true, F: 1.0, EMPTY: }",
      "secrets: [api-key, api-key, other]",
      "labels: { com.openfaas.scale.min: 3, team: blue }",
      "annotations:",
      "  com.openfaas.health.http.path: /healthz",
      "  com.openfaas.health.http.initialDelay: 1m1.5s",
      "  com.openfaas.cloud.auth: members",
      "build_args: { GO111MODULE: on }",
      "limits: { memory: 256Mi }",
    );
    expect(ignored).toEqual([]);
    expect(spec).toMatchObject({
      environment: { MODE: "fast", N: "0010", ON: "true", F: "1.0", EMPTY: "" },
      secrets: ["api-key", "other"],
      labels: { "com.openfaas.scale.min": "3", team: "blue" },
      replicas: 3,
      healthPath: "/healthz",
      healthInitialDelayMs: 61_500,
      access: "members",
      buildArgs: { GO111MODULE: "on" },
      memoryLimitBytes: 256 * MiB,
    });
  });

  test("reports every key that has no effect, with its reason", () => {
    const text = stack(
      "image: x",
      "registry_auth: x",
      "fprocess: x",
      "skip_build: true",
      "constraints: [a]",
      "environment_file: [a.yml]",
      "requests: { memory: 1Mi }",
      "readonly_root_filesystem: false",
      "build_options: [dev]",
      "namespace: x",
      "limits: { cpu: 100m }",
      "made_up: 1",
      `environment: { A: '${VARIABLE}' }`,
      "labels: { com.openfaas.scale.zero: true, com.openfaas.cloud.git-owner: mallory }",
      "annotations: { topic: t, schedule: '* * * * *' }",
    );
    const { functions, ignored } = parseStackFile(
      `${text}configuration: { templates: [], copy: [x], other: 1 }\nextra: 1\n`.replace(
        "name: openfaas",
        "name: openfaas\n  gateway: http://x\n  network: y\n  more: z",
      ),
    );
    expect(ignored.map(({ key }) => key.replace(/^functions\.hello\./, "")).toSorted()).toEqual(
      [
        "annotations.schedule",
        "annotations.topic",
        "build_options",
        "configuration.copy",
        "configuration.other",
        "configuration.templates",
        "constraints",
        "environment.A",
        "environment_file",
        "extra",
        "fprocess",
        "image",
        "labels.com.openfaas.cloud.git-owner",
        "labels.com.openfaas.scale.zero",
        "limits.cpu",
        "made_up",
        "namespace",
        "provider.gateway",
        "provider.more",
        "provider.network",
        "readonly_root_filesystem",
        "registry_auth",
        "requests",
        "skip_build",
      ].toSorted(),
    );
    for (const { reason } of ignored) expect(reason).not.toBe("");
    expect(functions[0]?.environment).toEqual({ A: VARIABLE });
    expect(functions[0]?.labels).toEqual({ "com.openfaas.scale.zero": "true" });
    expect(functions[0]?.annotations).toEqual({ topic: "t", schedule: "* * * * *" });
  });

  test.each([
    ["128Mi", 128 * MiB],
    ["30m", 30 * MiB],
    ["0.5Gi", 512 * MiB],
    ["64MB", 64 * MiB],
    ["128M", 128_000_000],
    ["134217728", 128 * MiB],
    ["64Gi", 1024 * MiB],
  ])("limits memory to %s", (text, bytes) => {
    expect(parseHello(`limits: { memory: ${text} }`).spec?.memoryLimitBytes).toBe(bytes);
  });

  test("gets the most there is where it asks for more, and is told", () => {
    const { spec, ignored } = parseHello(
      "limits: { memory: 64Gi }",
      "labels: { com.openfaas.scale.min: 500 }",
    );
    expect(spec).toMatchObject({ memoryLimitBytes: 1024 * MiB, replicas: 10 });
    expect(ignored).toHaveLength(2);
  });

  test("may share values by anchors and merge keys", () => {
    const text = `
provider: { name: faas }
base: &base
  lang: node22
  environment: &env { A: 1 }
functions:
  one: { <<: *base, handler: one }
  two: { <<: *base, handler: two, environment: { B: 2 } }
`;
    const { functions, ignored } = parseStackFile(text);
    expect(functions.map(({ environment }) => environment)).toEqual([{ A: "1" }, { B: "2" }]);
    expect(ignored.map(({ key }) => key)).toEqual(["base"]);
  });

  test.each([
    ["./a/./b//", "a/b"],
    ["a b", "a b"],
    [".", ""],
  ])("takes the handler %s", (handler, normal) => {
    const text = stack().replace("./hello", JSON.stringify(handler));
    expect(parseStackFile(text).functions[0]?.handler).toBe(normal);
  });

  test.each(["/etc", "../x", "a/../../b", "a\\b", "a\0b", "", "a/.GIT/b"])(
    "refuses the handler %j",
    (handler) => {
      const text = stack().replace("./hello", JSON.stringify(handler));
      expect(() => parseStackFile(text)).toThrow(/^stack\.yml, line 7: .*handler/);
    },
  );

  const other = (name: string) => `${stack()}  ${name}: { lang: node22, handler: x }\n`;
  test.each<[string, string, RegExp]>([
    ["nothing", "", /it is empty/],
    ["a list", "- a", /line 1: the stack file must be a map/],
    ["broken YAML", "provider: [\n", /line \d/],
    ["no provider", "functions: { a: { lang: a, handler: a } }", /provider is missing/],
    ["another provider", stack().replace("openfaas", "lambda"), /line 3: provider.name must be openfaas/],
    ["another version", stack().replace("1.0", "2.0"), /line 1: version/],
    ["no functions", "provider: { name: openfaas }\nfunctions:\n", /at least one function/],
    ["a bad function name", other("Hello"), /line 8: the function's name "Hello"/],
    ["two functions of one name", other("hello"), /"hello" stands twice, on lines 5 and 8/],
    ["a duplicate key in what is ignored", stack("requests: { a: 1, a: 2 }"), /"a" stands twice/],
    ["no lang", stack().replace("    lang: node22\n", ""), /line 5: functions.hello.lang is missing/],
    [
      "no handler",
      stack().replace("    handler: ./hello\n", ""),
      /line 5: functions.hello.handler is missing/,
    ],
    ["an odd lang", stack().replace("node22", "../x"), /line 6/],
    ["two documents", `${stack()}---\na: 1\n`, /one document/],
    ["a tag", stack("environment: { A: !!binary aGk= }"), /line 8: the tag/],
    [
      "an unknown access",
      stack("annotations: { com.openfaas.cloud.auth: everyone }"),
      /must be one of public/,
    ],
    ["a bad secret name", stack("secrets: ['../x']"), /line 8: the secret's name/],
    ["secrets that are no list", stack("secrets: { a: b }"), /must be a list/],
    ["a bad quantity", stack("limits: { memory: lots }"), /must be a size/],
    ["too little memory", stack("limits: { memory: 1k }"), /must be a size/],
    ["a bad environment name", stack("environment: { 'A=B': c }"), /line 8.*"A=B"/],
    ["a map as a value", stack("environment: { A: { b: c } }"), /must be a single value/],
    [
      "a bad delay",
      stack("annotations: { com.openfaas.health.http.initialDelay: soon }"),
      /must be a duration/,
    ],
    ["a bad health path", stack("annotations: { com.openfaas.health.http.path: healthz }"), /begins with/],
    ["no replicas", stack("labels: { com.openfaas.scale.min: 0 }"), /from 1 to 10/],
    ["an alias of nothing", stack("environment: *nothing"), /line 8/],
    [
      "too many functions",
      `${stack()}${Array.from({ length: 100 }, (_, i) => `  f${i}: {lang: a, handler: a}\n`).join("")}`,
      /101 functions/,
    ],
    ["more than 256 KiB", `${stack()}# ${"x".repeat(256 * 1024)}`, /larger than 256 KiB/],
    ["a nested bomb", `a: ${"[".repeat(40)}${"]".repeat(40)}\n${stack()}`, /deeper than 32/],
    ["a very deep nest", `a: ${"[".repeat(200_000)}`, /line 1: .*deeper than 32/],
    ["a very deep nest of lists", "- ".repeat(100_000), /line 1: .*deeper than 32/],
    [
      "a deep nest by indentation",
      Array.from({ length: 600 }, (_, i) => `${" ".repeat(i)}a:\n`).join(""),
      /deeper than 32/,
    ],
    ["thirty thousand keys", Array.from({ length: 30_000 }, (_, i) => `${i}:\n`).join(""), /20000 values/],
    [
      "nine levels of nine aliases",
      `a0: &a0 [x]\n${Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(",")}]\n`).join("")}${stack()}`,
      /alias/,
    ],
    [
      "a hundred and one aliases",
      `a: &a x\nb: [${Array(101).fill("*a").join(",")}]\n${stack()}`,
      /100 aliases/,
    ],
    [
      "__proto__ as a key",
      stack("__proto__: { lang: x }").replace("lang: node22", "x: 1"),
      /lang is missing/,
    ],
  ])("is refused with %s", (_what, text, message) => {
    expect(() => parseStackFile(text)).toThrow(message);
    expect(() => parseStackFile(text)).toThrow(expect.objectContaining({ kind: "stack-file-invalid" }));
  });
});

describe("what is wrong with a stack file", () => {
  const told = (text: string): string[] => {
    try {
      parseStackFile(text);
    } catch (error) {
      return (error as Error).message.split("\n");
    }
    return [];
  };
  const beginnings = (text: string) => told(text).map((line) => /^.*?(?=: )/.exec(line)?.[0]);

  test("is told all at once, each with its line", () => {
    const text = stack(
      "labels:",
      "  team: blue",
      "  com.openfaas.scale.min: none",
      "annotations:",
      "  com.openfaas.health.http.path: healthz",
      "  com.openfaas.health.http.initialDelay: soon",
      "  com.openfaas.cloud.auth: everyone",
      "  com.openfaas.cloud.aut: token",
      "  com.openfaas.cloud.limit.rate: many",
      "  com.openfaas.cloud.limit.burst: all",
      "  com.openfaas.cloud.limit.concurrency: 0",
      "  com.openfaas.cloud.limit.body: big",
      "  com.openfaas.cloud.limit.timeout: soon",
      "  com.openfaas.cloud.streaming: yes",
    );
    expect(beginnings(text).toSorted()).toEqual(
      [10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21].map((line) => `stack.yml, line ${line}`),
    );
  });

  test("is told of every function, whatever is wrong with the one before", () => {
    const text = `${stack("annotations: { com.openfaas.cloud.auth: all }", "secrets: no")}  b: { lang: x }\n  c: { handler: x }\n`;
    expect(beginnings(text)).toEqual([8, 9, 10, 11].map((line) => `stack.yml, line ${line}`));
  });

  test("is told up to twenty times", () => {
    const many = Array.from({ length: 1000 }, (_, i) => `  com.openfaas.cloud.n${i}: x`);
    const lines = told(stack("annotations:", ...many));
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toBe("There may be more: these are the first 20.");
  });
});

describe("an annotation", () => {
  const annotationsOf = (text: string, name = "stack.yml") => {
    try {
      return parseStackFile(text, { name }).notices;
    } catch (error) {
      return (error as Rejected).annotations;
    }
  };
  const hello = "    handler: ./hello\n";

  test.each<[string, string, number, RegExp]>([
    ["broken YAML", `${stack()}  b: [1, 2\n`, 9, /./],
    ["a tab", stack().replace("    lang", "\tlang"), 6, /[Tt]ab/],
    ["a key that stands twice", stack("lang: python3"), 8, /"lang" stands twice, on lines 6 and 8\.$/],
    [
      "a value that is none of those there are",
      stack("", "limits: { memory: lots }"),
      9,
      /a size of at least/,
    ],
    ["an access nobody knows", stack("annotations:", "  com.openfaas.cloud.auth: all"), 9, /one of public/],
    ["a map where a value belongs", stack("environment:", "  A:", "    b: c"), 10, /must be a single value/],
    ["a secret's bad name", stack("secrets:", "  - good", "  - ../bad"), 10, /the secret's name "..\/bad"/],
    ["a key that is missing", stack().replace(hello, ""), 5, /handler is missing/],
    ["a handler outside", stack().replace("./hello", "../hello"), 7, /must stay inside/],
    ["an alias of nothing", stack("environment: *nothing"), 8, /no anchor "nothing"/],
    ["a provider that is missing", "functions: { a: { lang: a, handler: a } }", 1, /provider is missing/],
    ["an empty file", "", 1, /it is empty\.$/],
    ["too much of it", "a: [".repeat(40), 1, /deeper than 32/],
    ["a second document", `${stack()}---\na: 1\n`, 9, /one document/],
  ])("says %s at its line", (_what, text, line, message) => {
    expect(annotationsOf(text)).toEqual([
      { path: "stack.yml", line, level: "failure", message: expect.stringMatching(message) },
    ]);
  });

  test("is there for each mistake, and for what has no effect beside them", () => {
    const text = `${stack("image: x", "annotations: { com.openfaas.cloud.auth: all }")}  b: { lang: x }\n`;
    expect(annotationsOf(text, "stack.yaml")).toMatchObject([
      { path: "stack.yaml", line: 9, level: "failure" },
      { path: "stack.yaml", line: 10, level: "failure" },
      {
        path: "stack.yaml",
        line: 8,
        level: "notice",
        message: expect.stringContaining("functions.hello.image: "),
      },
    ]);
  });

  test.each<[string, string, number]>([
    ["extra", `${stack()}extra: 1\n`, 8],
    ["provider.gateway", stack().replace("name: openfaas", "name: openfaas\n  gateway: x"), 4],
    ["configuration.copy", `${stack()}configuration:\n  copy: [x]\n`, 9],
    ["functions.hello.made_up", stack("environment: { A: b }", "made_up: 1"), 9],
    ["functions.hello.environment.A", stack("environment:", "  B: c", `  A: '${VARIABLE}'`), 10],
    ["functions.hello.labels.com.openfaas.scale.min", stack("labels:", "  com.openfaas.scale.min: 500"), 9],
    ["functions.hello.annotations.topic", stack("annotations:", "  topic: t"), 9],
    [
      "functions.hello.annotations.com.openfaas.cloud.limit.timeout",
      stack("annotations:", "  com.openfaas.cloud.limit.timeout: 10h"),
      9,
    ],
    ["functions.hello.environment.exec_timeout", stack("environment:", "  exec_timeout: 10h"), 9],
    ["functions.hello.limits.cpu", stack("limits:", "  cpu: 100m"), 9],
  ])("is a notice at the line of %s, which has another effect than it says", (key, text, line) => {
    expect(annotationsOf(text)).toEqual([
      {
        path: "stack.yml",
        line,
        level: "notice",
        message: expect.stringMatching(`^${key.replaceAll(".", "\\.")}: `),
      },
    ]);
  });

  test("is there for the first fifty keys without effect", () => {
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}: 1`);
    expect(annotationsOf(stack(...keys))).toHaveLength(50);
    expect(parseStackFile(stack(...keys)).ignored).toHaveLength(200);
  });

  test("can be made where a function asks for what is only judged later", () => {
    const { lines } = parseStackFile(
      `${stack("secrets:", "  - one", "  - two")}  b: { lang: node22, handler: b, secrets: [one] }\n`,
    );
    expect([...lines]).toEqual([
      [
        "hello",
        {
          name: 5,
          lang: 6,
          handler: 7,
          secrets: new Map([
            ["one", 9],
            ["two", 10],
          ]),
        },
      ],
      ["b", { name: 11, lang: 11, handler: 11, secrets: new Map([["one", 11]]) }],
    ]);
  });
});

describe("in a checked-out repository", () => {
  async function folder() {
    const dir = await mkdtemp(join(tmpdir(), "stack-file-"));
    return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
  }

  test("the stack file is stack.yml, or stack.yaml", async () => {
    await using source = await folder();
    const { dir } = source;
    await expect(readStackFile({ dir, symlinks: [] })).rejects.toMatchObject({ kind: "stack-file-missing" });
    await writeFile(join(dir, "stack.yaml"), stack());
    expect((await readStackFile({ dir, symlinks: [] })).functions).toHaveLength(1);
    await writeFile(join(dir, "stack.yml"), "");
    await expect(readStackFile({ dir, symlinks: [] })).rejects.toMatchObject({ kind: "stack-file-invalid" });
  });

  test("a stack file that is a symbolic link is refused", async () => {
    await using source = await folder();
    await symlink("/etc/passwd", join(source.dir, "stack.yml"));
    await expect(readStackFile({ dir: source.dir, symlinks: [] })).rejects.toThrow("plain file");
  });

  test("a handler must be a folder that no symbolic link leads to", async () => {
    await using source = await folder();
    const { dir } = source;
    await mkdir(join(dir, "real", "inner"), { recursive: true });
    await writeFile(join(dir, "file"), "");
    await symlink("real", join(dir, "link"));
    const check = (handler: string) =>
      requireHandler({ dir, symlinks: ["link"] }, { name: "hello" as never, handler });
    await expect(check("real/inner")).resolves.toBeUndefined();
    await expect(check("")).resolves.toBeUndefined();
    for (const [handler, message] of [
      ["link", "symbolic link"],
      ["link/inner", "symbolic link"],
      ["file", "must be a folder"],
      ["missing", "does not exist"],
    ] as const) {
      await expect(check(handler)).rejects.toThrow(message);
      await expect(check(handler)).rejects.toMatchObject({ kind: "handler-invalid" });
    }
  });
});

describe("limits of calls", () => {
  const limits = (...lines: readonly string[]) => {
    const { spec, ignored } = parseHello(...lines);
    return { limits: spec?.routeLimits, ignored: ignored.map(({ key }) => key) };
  };
  const annotated = (...annotations: readonly string[]) =>
    limits("annotations:", ...annotations.map((one) => `  ${one}`));

  test("are absent where nothing is asked for, so that a stored revision is what it was", () => {
    expect(parseHello().spec).not.toHaveProperty("routeLimits");
  });

  test.each<[string, object]>([
    ["com.openfaas.cloud.limit.rate: 10", { rate: { perS: 10, burst: 10 } }],
    ["com.openfaas.cloud.limit.rate: 2.5/s", { rate: { perS: 2.5, burst: 3 } }],
    ["com.openfaas.cloud.limit.rate: 30/m", { rate: { perS: 0.5, burst: 1 } }],
    ["com.openfaas.cloud.limit.rate: 7200/h", { rate: { perS: 2, burst: 2 } }],
    ["com.openfaas.cloud.limit.concurrency: 5", { maxConcurrency: 5 }],
    ["com.openfaas.cloud.limit.body: 20Mi", { maxBodyBytes: 20 * MiB }],
    ["com.openfaas.cloud.limit.timeout: 5m", { firstByteMs: 300_000, totalMs: 300_000 }],
    ["com.openfaas.cloud.limit.timeout: 90", { firstByteMs: 90_000, totalMs: 90_000 }],
    ['com.openfaas.cloud.streaming: "true"', { totalMs: null }],
  ])("%s", (annotation, expected) => {
    expect(annotated(annotation)).toEqual({ limits: expected, ignored: [] });
  });

  test("a burst goes with a rate, a stream with a timeout for its beginning", () => {
    const burst = "com.openfaas.cloud.limit.burst: 100";
    expect(annotated("com.openfaas.cloud.limit.rate: 1/m", burst).limits).toEqual({
      rate: { perS: 1 / 60, burst: 100 },
    });
    expect(annotated(burst)).toEqual({
      limits: undefined,
      ignored: ["functions.hello.annotations.com.openfaas.cloud.limit.burst"],
    });
    expect(
      annotated("com.openfaas.cloud.streaming: true", "com.openfaas.cloud.limit.timeout: 2m").limits,
    ).toEqual({ firstByteMs: 120_000, totalMs: null });
  });

  test.each<[string, number | undefined, readonly string[]]>([
    ["10m", 600_000, []],
    ["45", 45_000, []],
    ["0", 900_000, []],
    ["1h", 900_000, ["functions.hello.environment.exec_timeout"]],
    ["soon", undefined, ["functions.hello.environment.exec_timeout"]],
  ])("exec_timeout %s is what OpenFaaS's watchdogs make of it", (value, totalMs, ignored) => {
    const read = limits(`environment: { exec_timeout: ${value} }`);
    expect(read.limits?.totalMs).toBe(totalMs);
    expect(read.limits?.firstByteMs).toBe(totalMs);
    expect(read.ignored).toEqual(ignored);
  });

  test("the annotation goes before exec_timeout", () => {
    const read = limits(
      "environment: { exec_timeout: 10m }",
      "annotations: { com.openfaas.cloud.limit.timeout: 1m }",
    );
    expect(read.limits?.totalMs).toBe(60_000);
  });

  test("end at the operator's, which is reported", () => {
    const { functions, ignored } = parseStackFile(
      stack(
        "annotations:",
        "  com.openfaas.cloud.limit.rate: 50",
        "  com.openfaas.cloud.limit.burst: 70",
        "  com.openfaas.cloud.limit.concurrency: 50",
        "  com.openfaas.cloud.limit.body: 50",
        "  com.openfaas.cloud.limit.timeout: 50s",
      ),
      { maxRatePerS: 5, maxConcurrency: 6, maxBodyBytes: 7, maxTimeoutMs: 8_000 },
    );
    expect(functions[0]?.routeLimits).toEqual({
      rate: { perS: 5, burst: 5 },
      maxConcurrency: 6,
      maxBodyBytes: 7,
      firstByteMs: 8_000,
      totalMs: 8_000,
    });
    expect(ignored).toHaveLength(5);
    for (const { reason } of ignored) expect(reason).toMatch(/ is the most, and is what it gets$/);
  });

  test.each([
    "com.openfaas.cloud.limit.rate: 0",
    "com.openfaas.cloud.limit.rate: -1",
    "com.openfaas.cloud.limit.rate: 10/d",
    "com.openfaas.cloud.limit.rate: many",
    "com.openfaas.cloud.limit.concurrency: 0",
    "com.openfaas.cloud.limit.concurrency: 1e3",
    "com.openfaas.cloud.limit.body: 0",
    "com.openfaas.cloud.limit.body: big",
    "com.openfaas.cloud.limit.timeout: 0",
    "com.openfaas.cloud.limit.timeout: soon",
    "com.openfaas.cloud.streaming: yes",
  ])("%s is refused with its own line", (annotation) => {
    expect(() => annotated(annotation)).toThrow(
      /^stack.yml, line 9: functions.hello.annotations: com.openfaas/,
    );
  });

  test("`token` is an access", () => {
    expect(parseHello("annotations: { com.openfaas.cloud.auth: token }").spec?.access).toBe("token");
  });
});

describe("a key of the platform's own namespace", () => {
  const refusal = (...lines: readonly string[]): string => {
    try {
      parseStackFile(stack(...lines));
    } catch (error) {
      return (error as Error).message;
    }
    return "it was taken";
  };

  test.each([
    ["com.openfaas.cloud.aut", "com.openfaas.cloud.auth"],
    ["com.openfaas.cloud.Auth", "com.openfaas.cloud.auth"],
    ["COM.openfaas.cloud.auth", "com.openfaas.cloud.auth"],
    ["com.openfaas.cloud.limit.rates", "com.openfaas.cloud.limit.rate"],
    ["com.openfaas.cloud.limits.body", "com.openfaas.cloud.limit.body"],
    ["com.openfaas.cloud.steaming", "com.openfaas.cloud.streaming"],
  ])("that does not exist is refused, since it may be a protection misspelt: %s", (key, nearest) => {
    const said = refusal("annotations:", "  topic: t", `  ${key}: token`);
    expect(said).toMatch(/^stack\.yml, line 10: functions\.hello\.annotations: /);
    expect(said).toContain(JSON.stringify(key));
    expect(said).toContain(`${nearest} is the nearest`);
    expect(said).toContain("com.openfaas.cloud.limit.concurrency, ");
  });

  test("is refused as a label, where it would protect nothing", () => {
    const said = refusal("labels:", "  team: blue", "  com.openfaas.cloud.auth: token");
    expect(said).toMatch(/^stack\.yml, line 10: functions\.hello\.labels: "com\.openfaas\.cloud\.auth" /);
    expect(said).toContain("annotations");
  });

  test.each([
    ["annotations", "com.openfaas.auth"],
    ["annotations", "com.openfaas.cloud-auth"],
    ["annotations", "com.openfaas.scale.min"],
    ["labels", "com.openfaas.health.http.path"],
    ["labels", "com.openfaas.scale.mins"],
  ])("is not all of OpenFaaS's: in %s, %s is kept and reported as without effect", (kind, key) => {
    const { spec, ignored } = parseHello(`${kind}: { ${key}: x }`);
    expect({ ...spec?.labels, ...spec?.annotations }).toEqual({ [key]: "x" });
    expect(ignored.map((one) => one.key)).toEqual([`functions.hello.${kind}.${key}`]);
  });

  test("that says where a function comes from is left to the platform, and reported", () => {
    const { spec, ignored } = parseHello("annotations: { com.openfaas.cloud.git-repo-url: http://x }");
    expect(spec?.annotations).toEqual({});
    expect(ignored.map(({ key }) => key)).toEqual([
      "functions.hello.annotations.com.openfaas.cloud.git-repo-url",
    ]);
  });
});
