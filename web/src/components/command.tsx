import { CopyButton } from "./copy-button.tsx";

/** Lines for a terminal, to be copied whole. */
export function Command({ text, what }: { text: string; what: string }) {
  return (
    <div className="command border rounded bg-body-tertiary d-flex align-items-start">
      <pre className="flex-grow-1 mb-0 p-3">{text}</pre>
      <div className="p-2">
        <CopyButton text={text} what={what} />
      </div>
    </div>
  );
}
