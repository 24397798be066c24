import { existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Confinement } from "./confinement.ts";
import { findOnPath } from "./find-on-path.ts";
import type { Command, Mount } from "./sandbox.ts";

const UID = 1000;

/** Parts of the system that programs need to run, resolve names and verify certificates; nothing that says who uses it. */
const SYSTEM_FILES = [
  "/etc/alternatives",
  "/etc/ca-certificates",
  "/etc/hosts",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/localtime",
  "/etc/nsswitch.conf",
  "/etc/pki/tls/certs",
  "/etc/pki/ca-trust/extracted",
  "/etc/resolv.conf",
  "/etc/ssl/certs",
  "/etc/ssl/openssl.cnf",
];

/**
 * Where the platform runs as root, user 1000 of the sandbox is root of the machine as far as /proc is concerned, without
 * any capability but with an owner's permissions: writing `sys/kernel/core_pattern` would run a program outside. These
 * stay readable (programs ask them for limits), and are remounted so that nothing of them can be written.
 */
const PROC_READ_ONLY = [
  "acpi",
  "bus",
  "driver",
  "fs",
  "irq",
  "mtrr",
  "pressure",
  "scsi",
  "sys",
  "sysrq-trigger",
  "tty",
];
const PROC_MASKED = ["kallsyms", "kcore", "keys", "kmsg", "sched_debug", "timer_list"];

type Found =
  | { readonly kind: "found"; readonly confinement: Confinement }
  | { readonly kind: "absent"; readonly reason: string };

export function openBubblewrap(dataDir: string): Found {
  if (process.platform !== "linux") {
    return { kind: "absent", reason: `there is no sandbox for ${process.platform}: bubblewrap needs Linux` };
  }
  const bwrap = findOnPath("bwrap");
  if (bwrap === undefined) {
    return {
      kind: "absent",
      reason: "bubblewrap (bwrap) is not installed: apt-get install bubblewrap",
    };
  }
  const system = systemArguments(writeAccounts(join(dataDir, "sandbox")));
  return {
    kind: "found",
    confinement: {
      isolation: { kind: "sandboxed", by: "bubblewrap" },
      view: (mount) => mount.inside,
      wrap: (command) => ({
        file: bwrap,
        args: ["--json-status-fd", "4", "--args", "3", command.file, ...command.args],
        // The command's environment may hold secrets, and arguments are visible to everyone on the machine. It must not
        // be the environment of bwrap itself either: LD_PRELOAD in it would run a function's code outside.
        environment: {},
        settings: [...system, ...commandSettings(command)].map((argument) => `${argument}\0`).join(""),
      }),
    },
  };
}

function systemArguments(accounts: readonly string[]): string[] {
  const namespaces = ["user", "pid", "ipc", "uts", "cgroup-try"].map((kind) => `--unshare-${kind}`);
  const identity = ["--uid", `${UID}`, "--gid", `${UID}`, "--hostname", "function", "--cap-drop", "ALL"];
  const lib = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].flatMap(systemFolder);
  const files = SYSTEM_FILES.flatMap((file) => (existsSync(file) ? ["--ro-bind", file, file] : []));
  return [
    ...namespaces,
    ...identity,
    "--disable-userns",
    "--clearenv",
    ...["--ro-bind", "/usr", "/usr"],
    ...lib,
    ...files,
    ...accounts,
    ...["--proc", "/proc"],
    ...existingProc(PROC_READ_ONLY).flatMap((path) => ["--ro-bind", path, path]),
    ...existingProc(PROC_MASKED).flatMap((path) => ["--ro-bind", "/dev/null", path]),
    ...["--dev", "/dev", "--size", `${64 * 1024 * 1024}`, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"],
  ];
}

/** Most systems have `/bin` and its like as links into `/usr`. */
function systemFolder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const target = realpathSync(folder);
  return target.startsWith("/usr/") ? ["--symlink", target, folder] : ["--ro-bind", folder, folder];
}

function existingProc(names: readonly string[]): string[] {
  return names.map((name) => `/proc/${name}`).filter((path) => existsSync(path));
}

/** Programs look up their own user; who else has an account here is nobody's business. */
function writeAccounts(folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  const passwd = join(folder, "passwd");
  const group = join(folder, "group");
  writeFileSync(
    passwd,
    `app:x:${UID}:${UID}:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n`,
  );
  writeFileSync(group, `app:x:${UID}:\nnogroup:x:65534:\n`);
  return ["--ro-bind", passwd, "/etc/passwd", "--ro-bind", group, "/etc/group"];
}

function commandSettings(command: Command): string[] {
  const environment = Object.entries(command.environment);
  return [
    ...(command.kind === "build" ? ["--die-with-parent"] : []),
    ...["--perms", "1777", "--size", String(command.limits.tmpBytes), "--tmpfs", "/tmp"],
    ...command.mounts.filter(needsMount).flatMap(mountArguments),
    ...["--remount-ro", "/"],
    ...environment.flatMap(([name, value]) => ["--setenv", name, value]),
    ...["--chdir", command.cwd],
  ];
}

function mountArguments(mount: Mount): string[] {
  return [mount.access === "write" ? "--bind" : "--ro-bind", mount.host, mount.inside];
}

/** What lies below /usr is there already, and a mount point cannot be made in it. */
function needsMount(mount: Mount): boolean {
  return !(
    mount.inside === mount.host &&
    mount.access === "read" &&
    `${dirname(mount.host)}/`.startsWith("/usr/")
  );
}
