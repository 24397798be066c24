import { type Reading, readStream } from "./llhttp-oracle.ts";
import type { Random } from "./random.ts";
import { RequestGrammar } from "./request-grammar.ts";

/** Everything a client says on one connection. */
export interface RequestStream {
  /** In the pieces in which it is sent. */
  readonly pieces: readonly Buffer[];
  readonly reading: Reading;
  /** How many requests of the grammar it is made of. */
  readonly requests: number;
  /** It ends within a request, so that nothing but the client's leaving ends it. */
  readonly incomplete: boolean;
}

const MAX_REQUESTS = 8;
const MAX_PIECES = 5;
/** What a mutated length may ask for, and still get. */
const MAX_FILLING_BYTES = 4_096;

/** Makes streams of requests, one in four of them mutated, cut at random places. */
export class StreamGrammar {
  readonly #random: Random;
  readonly #requests: RequestGrammar;

  constructor(random: Random) {
    this.#random = random;
    this.#requests = new RequestGrammar(random, 0.25);
  }

  next(): RequestStream {
    const requests = this.#random.between(1, MAX_REQUESTS + 1);
    let text = "";
    for (let i = 0; i < requests; i++) text += this.#requests.next(i === requests - 1).bytes;
    let reading = readStream(text);
    if (reading.end === "incomplete") {
      text += this.#filling(reading);
      reading = readStream(text);
    } else if (reading.end === "refused") {
      // Who looks for the end of a head first finds one.
      text += "\r\n\r\n";
    } else if (reading.end === "clean" && reading.requests.at(-1)?.keepAlive !== false) {
      // The mutation took its end away.
      text += "GET /hello HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n";
      reading = readStream(text);
    }
    const incomplete = reading.end === "incomplete" || endsOpen(reading);
    return { pieces: this.#cut(Buffer.from(text, "latin1")), reading, requests, incomplete };
  }

  /** As much as a length asks for; in any other place what no parser takes. */
  #filling({ requests: [...requests] }: Reading): string {
    const last = requests.at(-1);
    const at =
      last?.headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === "content-length") ?? -1;
    const length = at === -1 ? 0 : Number(last?.headers[at + 1]);
    const missing = length - (last?.body.length ?? 0);
    const amount = last?.whole === false && missing > 0 && missing <= MAX_FILLING_BYTES ? missing : 0;
    return `${"\0".repeat(amount)}\0\0\r\n\r\n`;
  }

  #cut(bytes: Buffer): Buffer[] {
    const places = Array.from({ length: this.#random.between(0, MAX_PIECES) }, () =>
      this.#random.between(1, bytes.length),
    ).toSorted((a, b) => a - b);
    return [0, ...places]
      .map((place, i) => bytes.subarray(place, places[i] ?? bytes.length))
      .filter((piece) => piece.length > 0);
  }
}

/** Clean, and yet nothing in it ends the connection. */
function endsOpen(reading: Reading): boolean {
  return reading.end === "clean" && reading.requests.at(-1)?.keepAlive !== false;
}
