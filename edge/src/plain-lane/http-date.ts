/** The time as `Date` says it (RFC 9110 §5.6.7), made once a second. */
export class HttpDate {
  #second = 0;
  #text = "";

  now(): string {
    const nowMs = Date.now();
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(nowMs).toUTCString();
    }
    return this.#text;
  }
}
