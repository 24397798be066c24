/** A receiver in a process of its own, so that its memory can be told. Prints its port, then its memory for each line of input. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { pino } from "pino";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { openDeliveryReceiver } from "../../src/webhooks/receive.ts";
import { ScriptedHost } from "./scripted-host.ts";

const [, , file = ""] = process.argv;
const receiver = openDeliveryReceiver({
  store: await openSqliteStore(file),
  hosts: { remote: [new ScriptedHost()] },
  onStored: () => undefined,
  dashboardUrl: "/dashboard/",
  logger: pino({ level: "silent" }),
});
const server = createServer({ requestTimeout: 0 }, (request, response) => {
  void receiver.handle(request, response);
});
server.listen(0, "127.0.0.1", () => say(String((server.address() as AddressInfo).port)));
createInterface(process.stdin)
  .on("line", () => say(memory()))
  .on("close", () => process.exit());

/** Of this process, now and at its most: proc_pid_status(5), KiB. */
function memory(): string {
  const status = readFileSync("/proc/self/status", "utf8");
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
  return JSON.stringify({ now: of("VmRSS"), most: of("VmHWM") });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
