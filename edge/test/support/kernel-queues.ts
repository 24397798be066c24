import { readFile } from "node:fs/promises";

/** A TCP socket of this machine as the kernel tells of it. */
export interface KernelSocket {
  readonly localPort: number;
  readonly remotePort: number;
  /** Written by a process, and not confirmed by the other side. */
  readonly sendQueueBytes: number;
  /** Confirmed, and not read by the process. */
  readonly receiveQueueBytes: number;
  /** Milliseconds until the next keep-alive probe, where keep-alive is on and nothing else is due. */
  readonly keepAliveMs: number | undefined;
}

const ESTABLISHED = "01";
const KEEP_ALIVE_TIMER = "02";
/** The unit of the kernel's tables, whatever its own clock is. */
const TICK_MS = 10;

/** The established IPv4 connections, of which both ends are here. */
export async function kernelSockets(): Promise<KernelSocket[]> {
  const [, ...lines] = (await readFile("/proc/net/tcp", "utf8")).trim().split("\n");
  return lines.flatMap((line) => {
    const [, local, remote, state, queues = "", timer = ""] = line.trim().split(/\s+/);
    if (state !== ESTABLISHED) return [];
    const [send, receive] = queues.split(":").map((hex) => Number.parseInt(hex, 16));
    const [kind, ticks = ""] = timer.split(":");
    return {
      localPort: portOf(local),
      remotePort: portOf(remote),
      sendQueueBytes: send ?? 0,
      receiveQueueBytes: receive ?? 0,
      keepAliveMs: kind === KEEP_ALIVE_TIMER ? Number.parseInt(ticks, 16) * TICK_MS : undefined,
    };
  });
}

/** What the kernel holds of all connections to these ports. */
export async function queuedBytes(ports: readonly number[]): Promise<number> {
  let bytes = 0;
  for (const socket of await kernelSockets()) {
    if (!ports.includes(socket.localPort) && !ports.includes(socket.remotePort)) continue;
    bytes += socket.sendQueueBytes + socket.receiveQueueBytes;
  }
  return bytes;
}

function portOf(address: string | undefined): number {
  return Number.parseInt(address?.split(":")[1] ?? "", 16);
}
