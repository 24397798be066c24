import { useEffect, useState } from "react";
import { Icon } from "./icon.tsx";

/** Absent where the browser offers no clipboard, which is so over plain HTTP on any host but localhost. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2_000);
    return () => clearTimeout(timer);
  }, [copied]);

  if (navigator.clipboard === undefined) return null;
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      // The browser asked the person, who said no.
      () => setCopied(false),
    );
  return (
    <button
      type="button"
      className="btn btn-sm btn-quiet"
      onClick={copy}
      title={`Copy ${what}`}
      aria-label={copied ? `Copied ${what}` : `Copy ${what}`}
    >
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}
