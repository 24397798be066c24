import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { Sealing } from "../src/sealing.ts";

const PURPOSE = ["secret", "owner-a", "key"];

test.each([0, 1, 4, 8, 12, 15])("what was sealed does not open by the first %i bytes of its tag", (bytes) => {
  const sealing = new Sealing(randomBytes(32));
  const sealed = Buffer.from(sealing.seal(PURPOSE, ""), "base64");
  expect(sealing.open(PURPOSE, sealed.toString("base64"))).toBe("");
  const nonceBytes = sealed.length - 16;
  const cut = sealed.subarray(0, nonceBytes + bytes).toString("base64");
  expect(() => sealing.open(PURPOSE, cut)).toThrow();
});
