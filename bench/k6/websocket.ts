import { check } from "k6";
import exec from "k6/execution";
import { Counter, Trend } from "k6/metrics";
import type { Options } from "k6/options";
import { WebSocket } from "k6/websockets";
import { COMMON, SECONDS, setting } from "./common.ts";

// A hundred WebSockets, each sending its next message when the one before has come back.

const SOCKETS = 100;

export const options: Options = {
  ...COMMON,
  scenarios: {
    echo: { executor: "per-vu-iterations", vus: SOCKETS, iterations: 1, maxDuration: `${SECONDS + 30}s` },
  },
  thresholds: { checks: ["rate==1"], socket_errors: ["count==0"], echoes: [`count>=${SOCKETS}`] },
};

const url = setting("URL").replace(/^http/, "ws");
const echo = new Trend("echo", true);
const echoes = new Counter("echoes");
const errors = new Counter("socket_errors");

export default function (): void {
  const socket = new WebSocket(url);
  const endsAtMs = Date.now() + SECONDS * 1000;
  let count = 0;
  let sentAtMs = 0;
  errors.add(0);
  const send = (): void => {
    count += 1;
    sentAtMs = exec.instance.currentTestRunDuration;
    socket.send(`message ${count}`);
  };
  socket.onopen = send;
  socket.onmessage = (event) => {
    echo.add(exec.instance.currentTestRunDuration - sentAtMs);
    echoes.add(1);
    check(event?.data, { "what was sent came back": (text) => text === `message ${count}` });
    if (Date.now() < endsAtMs) send();
    else socket.close();
  };
  socket.onerror = () => errors.add(1);
}
