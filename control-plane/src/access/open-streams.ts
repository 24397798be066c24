/**
 * Answers that go on for minutes. What their person may see was looked at when they began, so that they are cut when it
 * changes: a browser asks again by itself, and is judged anew.
 */
export class OpenStreams {
  readonly #bySubject = new Map<string, Set<() => void>>();

  /** `cut` is called once at most, until the result is disposed. */
  add(subject: string, cut: () => void): Disposable {
    const streams = this.#bySubject.get(subject) ?? new Set();
    this.#bySubject.set(subject, streams.add(cut));
    return {
      [Symbol.dispose]: () => {
        streams.delete(cut);
        if (streams.size === 0 && this.#bySubject.get(subject) === streams) this.#bySubject.delete(subject);
      },
    };
  }

  cut(subject: string): void {
    const streams = this.#bySubject.get(subject);
    this.#bySubject.delete(subject);
    for (const cut of streams ?? []) cut();
  }
}
