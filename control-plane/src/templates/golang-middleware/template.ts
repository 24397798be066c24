import type { BuildPlan, Refusal, StagedHandler, Step, Template } from "../template.ts";

/** Where the official template has it, so that imports of `handler/function/…` work with and without modules. */
const HANDLER_FOLDER = "src/handler/function";
const DEFAULT_MODULE = "handler/function";
/** A command inside the author's own module: its go.mod, replacements and vendor folder hold as they are. */
const ENTRY_FOLDER = "openfaas_cloud_entry";

export const golangMiddleware: Template = {
  name: "golang-middleware",
  aliases: [],
  toolchain: "go",
  files: { "main.go": `${HANDLER_FOLDER}/${ENTRY_FOLDER}/main.go` },
  handlerFolder: HANDLER_FOLDER,
  buildArgs: ["GO111MODULE", "GOPROXY", "GOFLAGS", "GOPRIVATE", "GONOSUMDB", "CGO_ENABLED"],
  buildEnvironment: ({ cache, root }) => ({
    GOPATH: root,
    GOCACHE: `${cache}/go-build`,
    GOMODCACHE: `${cache}/go-mod`,
    GOTOOLCHAIN: "local",
    GOTELEMETRY: "off",
    CGO_ENABLED: "0",
  }),
  plan,
  ships: ["handler", "static"],
  start: { args: ["./handler"], environment: {} },
};

function plan(handler: StagedHandler, { version }: { readonly version: string }): BuildPlan | Refusal {
  if (!handler.hasFile(".go")) return { problem: "no .go file with `package function` was found" };
  const goMod = handler.read("go.mod");
  const module = goMod === undefined ? DEFAULT_MODULE : /^\s*module\s+"?([^\s"]+)/m.exec(goMod)?.[1];
  if (module === undefined) return { problem: "go.mod does not name its module" };
  const language = /^\d+\.\d+/.exec(version)?.[0] ?? version;
  return {
    files: {
      [`${HANDLER_FOLDER}/${ENTRY_FOLDER}/import.go`]: entryImport(module),
      ...(goMod === undefined
        ? { [`${HANDLER_FOLDER}/go.mod`]: `module ${DEFAULT_MODULE}\n\ngo ${language}\n` }
        : {}),
    },
    steps: [...testSteps(handler), buildStep()],
  };
}

function entryImport(module: string): string {
  return `package main

import function "${module}"

func init() {
	handle = function.Handle
}
`;
}

function testSteps(handler: StagedHandler): Step[] {
  if (!handler.hasFile("_test.go")) return [];
  return [{ title: "go test ./...", argv: ["go", "test", "./..."], folder: HANDLER_FOLDER }];
}

function buildStep(): Step {
  const output = "../../../handler";
  return {
    title: "go build",
    argv: ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, `./${ENTRY_FOLDER}`],
    folder: HANDLER_FOLDER,
  };
}
