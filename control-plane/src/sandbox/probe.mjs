// Runs inside the sandbox, as a hostile function would, and prints what it could do that it must not.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const [canary, workDir] = process.argv.slice(-2);
const faults = [];

function mustFail(what, act) {
  try {
    act();
  } catch {
    return;
  }
  faults.push(what);
}

mustFail("it can read the platform's data", () => readFileSync(canary));
mustFail("it can write to the system's programs", () => writeFileSync("/usr/.openfaas-cloud-probe", ""));
mustFail("it can write beside its own folder", () => writeFileSync("/.openfaas-cloud-probe", ""));
mustFail("it can change the kernel's settings", () =>
  writeFileSync("/proc/sys/kernel/core_pattern", readFileSync("/proc/sys/kernel/core_pattern")),
);
mustFail("it can read the machine's accounts", () => readFileSync("/etc/shadow"));
mustFail("it can read root's home folder", () => readdirSync("/root/.ssh"));

const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
if (pids.length > 3) faults.push(`it can see ${pids.length} processes`);
if (process.getuid?.() === 0) faults.push("it runs as root");
if (!/^CapEff:\t0+$/m.test(readFileSync("/proc/self/status", "utf8"))) faults.push("it has capabilities");
if (!/^NoNewPrivs:\t1$/m.test(readFileSync("/proc/self/status", "utf8")))
  faults.push("it can gain privileges");
try {
  writeFileSync(`${workDir}/written`, "");
} catch (error) {
  faults.push(`it cannot write to its own folder (${error.message})`);
}
process.stdout.write(JSON.stringify({ faults }));
