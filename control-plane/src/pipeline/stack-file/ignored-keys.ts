/** A key of the stack file that has no effect here, and why; shown with the run. */
export interface IgnoredKey {
  /** As a path from the root: `functions.hello.image`. */
  readonly key: string;
  readonly reason: string;
}

export const IGNORED_FUNCTION_KEYS: Readonly<Record<string, string>> = {
  image: "images are named by the platform",
  registry_auth: "the platform pushes to its own registry with its own credentials",
  fprocess: "the template says which process to start",
  skip_build: "every function is built from its source",
  constraints: "the platform decides where functions run",
  environment_file: "files are not read into the environment; use environment or secrets",
  requests: "the platform reserves resources by itself; use limits.memory",
  readonly_root_filesystem: "the root file system is always read-only",
  build_options: "native packages cannot be chosen; use build_args or a template that has them",
  build_config: "builds are configured by the platform",
  namespace: "an owner's functions all live in the owner's own space",
  platforms: "functions are built for the machines of this platform",
};

export const IGNORED_LABELS: Readonly<Record<string, string>> = {
  "com.openfaas.scale.max":
    "the number of replicas does not change by itself; com.openfaas.scale.min sets it",
  "com.openfaas.scale.zero": "functions are not stopped when they are idle",
  "com.openfaas.scale.zero-duration": "functions are not stopped when they are idle",
  "com.openfaas.scale.factor": "the number of replicas does not change by itself",
  "com.openfaas.scale.target": "the number of replicas does not change by itself",
  "com.openfaas.scale.type": "the number of replicas does not change by itself",
};

export const IGNORED_ANNOTATIONS: Readonly<Record<string, string>> = {
  topic: "there is no event connector on this platform",
  schedule: "there is no cron connector on this platform",
};
