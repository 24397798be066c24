import { type ReactNode, useId, useRef } from "react";
import { Icon } from "./icon.tsx";

interface MenuProps {
  readonly label: ReactNode;
  /** What a screen reader hears for the button. */
  readonly name: string;
  readonly end?: boolean;
  readonly children: ReactNode;
}

/** A button with a panel under it. The browser's popover closes it on Escape and on a click elsewhere. */
export function Menu({ label, name, end = false, children }: MenuProps) {
  const id = useId();
  const panel = useRef<HTMLDivElement>(null);
  return (
    <>
      <button
        type="button"
        className="btn btn-outline-secondary d-inline-flex align-items-center gap-2 mw-100"
        aria-label={name}
        popoverTarget={id}
      >
        {label}
        <Icon name="expand" className="small" />
      </button>
      {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: only closes after a link inside was followed, by whatever means */}
      <div
        ref={panel}
        id={id}
        popover="auto"
        className={`menu dropdown-menu shadow ${end ? "menu-end" : ""}`}
        onClick={(event) => {
          if (event.target instanceof Element && event.target.closest("a")) panel.current?.hidePopover();
        }}
      >
        {children}
      </div>
    </>
  );
}
