import crypto from "k6/crypto";
import http from "k6/http";
import { Trend } from "k6/metrics";
import type { Options } from "k6/options";
import { asFastAs, COMMON, isAnswered, setting } from "./common.ts";

// Bodies of 8 MiB in both directions, each compared with what was sent, by four clients.

export const options: Options = { ...COMMON, scenarios: { bodies: asFastAs(4) } };

const base = setting("BASE");
const BYTES = 8 * 1024 * 1024;
const upload = new Trend("upload", true);
const download = new Trend("download", true);

const body = new Uint8Array(BYTES).fill(120).buffer;
const digest = crypto.sha256(body, "hex");
const headers = { "Content-Type": "application/octet-stream" };

export default function (): void {
  const up = http.post(`${base}/upload`, body, { headers });
  isAnswered(up, (response) => response.body === digest);
  upload.add(up.timings.duration);
  const down = http.get(`${base}/download`, { responseType: "binary" });
  isAnswered(down, (response) => response.body !== null && crypto.sha256(response.body, "hex") === digest);
  download.add(down.timings.duration);
}
