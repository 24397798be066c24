import http from "k6/http";
import type { Options } from "k6/options";
import { atRate, COMMON, isAnswered, setting } from "./common.ts";

// Several functions of one owner at a fixed rate: short answers, longer ones, JSON that is sent, and one that takes its time.

export const options: Options = { ...COMMON, scenarios: { mixed: atRate(Number(setting("RATE"))) } };

const base = setting("BASE");
const json = { headers: { "Content-Type": "application/json" } };

/** Out of ten requests. */
const TURNS: readonly (() => void)[] = [hello, hello, hello, hello, hello, page, page, order, order, slow];

export default function (): void {
  TURNS[Math.floor(Math.random() * TURNS.length)]?.();
}

function hello(): void {
  isAnswered(http.get(`${base}/hello`), ({ body }) => body === "hello");
}

function page(): void {
  isAnswered(http.get(`${base}/page`), ({ body }) => body === "0123456789".repeat(1024));
}

function order(): void {
  const sent = JSON.stringify({ items: [__VU, __ITER] });
  isAnswered(http.post(`${base}/order`, sent, json), ({ body }) => body === sent);
}

function slow(): void {
  isAnswered(http.get(`${base}/slow`), ({ body }) => body === "slow");
}
