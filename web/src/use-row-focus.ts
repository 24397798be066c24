import { type RefObject, useEffect, useRef } from "react";

/**
 * Keeps the keyboard in a list when the row that it is in goes away: it comes to the row that takes its place, and where
 * none is left to the section, or its heading: whichever has `tabIndex={-1}`.
 * @returns the section's ref, and what to call before the row that has the focus is taken away
 */
export function useRowFocus(rows: readonly unknown[] | undefined): {
  readonly section: RefObject<HTMLElement | null>;
  readonly rowGoes: () => void;
} {
  const section = useRef<HTMLElement>(null);
  const going = useRef<{ readonly place: number; readonly count: number }>(undefined);
  const count = rows?.length;

  useEffect(() => {
    const gone = going.current;
    if (gone === undefined || count === undefined || count >= gone.count) return;
    going.current = undefined;
    // Whoever has moved on meanwhile is left there.
    if (document.activeElement !== document.body) return;
    const left = buttonsIn(section.current);
    const heading = section.current?.querySelector<HTMLElement>("h2[tabindex='-1']");
    (left[Math.min(gone.place, left.length - 1)] ?? heading ?? section.current)?.focus();
  }, [count]);

  const rowGoes = () => {
    const place = buttonsIn(section.current).findIndex((button) => button.matches(":focus"));
    going.current = place === -1 || count === undefined ? undefined : { place, count };
  };
  return { section, rowGoes };
}

function buttonsIn(section: HTMLElement | null): readonly HTMLElement[] {
  return [...(section?.querySelectorAll<HTMLElement>("tbody button") ?? [])];
}
