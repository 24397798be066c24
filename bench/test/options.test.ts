import { expect, test } from "vitest";
import { parseOptions } from "../src/options.ts";

test("what is not asked for is left to the bench", () => {
  expect(parseOptions(["side-by-side"])).toEqual({
    name: "side-by-side",
    json: false,
    options: { beside: [] },
  });
});

test("everything that can be asked for is understood", () => {
  const args =
    "side-by-side --json --rounds 2 --seconds 1 --cores 2 --only ours,nginx --cases get-100 --pushes 3 --upstream-port 9000 --beside one=9001 --beside two=9002";
  expect(parseOptions(args.split(" "))).toEqual({
    name: "side-by-side",
    json: true,
    options: {
      rounds: 2,
      seconds: 1,
      cores: 2,
      only: ["ours", "nginx"],
      cases: ["get-100"],
      pushes: 3,
      upstreamPort: 9000,
      beside: [
        { name: "one", port: 9001 },
        { name: "two", port: 9002 },
      ],
    },
  });
});

test.each([
  { args: "", says: /Which bench/ },
  { args: "one two", says: /One bench at a time/ },
  { args: "targets --rounds 0", says: /--rounds must be a whole number/ },
  { args: "targets --seconds 1.5", says: /--seconds/ },
  { args: "side-by-side --cores 3", says: /--cores must be 1 or 2/ },
  { args: "side-by-side --only ours,apache", says: /does not know apache: direct, node-relay, ours/ },
  { args: "side-by-side --cases get-1m", says: /does not know get-1m: get-100/ },
  { args: "side-by-side --beside original", says: /--beside takes/ },
  { args: "side-by-side --fast", says: /--fast/ },
])("refused, with what is possible: $args", ({ args, says }) => {
  expect(() => parseOptions(args.split(" ").filter((each) => each !== ""))).toThrow(says);
});
