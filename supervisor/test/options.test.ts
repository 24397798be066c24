import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { expect, test } from "vitest";
import { parseOptions, USAGE } from "../src/options.ts";

test("no flags are the embedded defaults", () => {
  expect(parseOptions([])).toEqual({
    port: 8080,
    data: "data",
    url: undefined,
    owner: undefined,
    json: false,
    empty: false,
    help: false,
  });
});

test("every flag is understood", () => {
  const args = [
    "--port",
    "0",
    "--data",
    "/x",
    "--url=https://fn.example.com/",
    "--owner=alice",
    "--json",
    "--empty",
    "--help",
  ];
  expect(parseOptions(args)).toEqual({
    port: 0,
    data: "/x",
    url: "https://fn.example.com",
    owner: "alice",
    json: true,
    empty: true,
    help: true,
  });
});

test("the help says what fills the logs, which are empty while all is well", () => {
  expect(USAGE).toContain("LOG_LEVEL=info npm start");
  expect(USAGE).toContain("EDGE_ACCESS_LOG=all npm start");
});

test.for([
  { what: "an unknown flag", args: ["--prot", "1"], says: "Unknown option '--prot'" },
  { what: "a word", args: ["start"], says: "Unexpected argument 'start'" },
  { what: "a flag without its value", args: ["--port"], says: "argument missing" },
  { what: "a port that is none", args: ["--port", "http"], says: '--port must be 0 to 65535, not "http"' },
  { what: "a port beyond the last one", args: ["--port", "65536"], says: "--port must be 0 to 65535" },
  { what: "a URL with a path", args: ["--url", "https://a.test/x"], says: "--url must be an origin" },
  { what: "a URL of another scheme", args: ["--url", "ftp://a.test"], says: "--url must be an origin" },
  { what: "a URL of an address", args: ["--url", "http://127.0.0.1:8080"], says: "--url must be an origin" },
  { what: "a URL of a long address", args: ["--url", "http://[::1]"], says: "--url must be an origin" },
  { what: "a bare domain", args: ["--url", "a.test"], says: "--url must be an origin" },
  { what: "a data folder without a name", args: ["--data", ""], says: "--data must name a folder" },
])("$what is refused in one line", ({ args, says }) => {
  const refusal = catchError(() => parseOptions(args));
  expect(refusal).toBeInstanceOf(KnownError);
  expect(refusal).toMatchObject({ kind: "usage", message: expect.stringContaining(says) });
  expect(String(refusal)).not.toContain("\n");
});

function catchError(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}
