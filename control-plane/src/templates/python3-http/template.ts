import { existsSync } from "node:fs";
import type { BuildPlan, Refusal, StagedHandler, Template } from "../template.ts";

const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";

export const python3Http: Template = {
  name: "python3-http",
  aliases: ["python3-http-debian", "python3"],
  toolchain: "python",
  files: { "index.py": "index.py" },
  handlerFolder: "function",
  buildArgs: ["PIP_INDEX_URL"],
  buildEnvironment: ({ cache }) => ({
    PIP_CACHE_DIR: `${cache}/pip`,
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    PIP_NO_INPUT: "1",
    PIP_ROOT_USER_ACTION: "ignore",
    ...(existsSync(CERTIFICATES) ? { PIP_CERT: CERTIFICATES } : {}),
  }),
  plan,
  start: {
    program: "python",
    args: ["index.py"],
    // The artifact is read-only; without this each start would try to write compiled files into it.
    environment: { PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1" },
  },
};

/**
 * What pip compiles itself names the folder it unpacked into and the time, so that the same requirements never gave the same
 * image twice. Files that do not compile, such as tests for another Python, are left to whoever imports them.
 */
const COMPILE = `import compileall, py_compile
compileall.compile_dir("../python", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)`;

function plan(handler: StagedHandler): BuildPlan | Refusal {
  if (!handler.exists("handler.py")) return { problem: "handler.py was not found" };
  const files: Record<string, string> = handler.exists("__init__.py") ? {} : { "function/__init__.py": "" };
  const requirements = (handler.read("requirements.txt") ?? "").split("\n");
  if (!requirements.some((line) => line.trim() !== "" && !line.trim().startsWith("#")))
    return { files, steps: [] };
  const title = "pip install -r requirements.txt";
  const install = ["-m", "pip", "install", "--no-compile", "--target", "../python", "-r", "requirements.txt"];
  return {
    files,
    steps: [
      { title, argv: ["python", ...install], folder: "function" },
      { title: "compile what was installed", argv: ["python", "-c", COMPILE], folder: "function" },
    ],
  };
}
