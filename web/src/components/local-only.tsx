import { Icon } from "./icon.tsx";

/**
 * A warning where the platform answers at an address that leads nobody but this machine to it. GitHub refuses webhooks that the
 * public Internet does not reach, and with them the App.
 */
export function LocalOnly({ address }: { address: string }) {
  const { origin, hostname } = new URL(address);
  if (!/(^|\.)localhost$/.test(hostname)) return null;
  return (
    <div className="alert alert-warning" role="note">
      <strong>
        <Icon name="warning" className="me-2" />
        Only this machine reaches <span className="text-break">{origin}</span>.
      </strong>{" "}
      A source host elsewhere cannot deliver pushes to it; they are found by asking, minutes later. And
      github.com makes no App for such an address. Start the platform with <code>--url</code> and one that the
      host reaches.
    </div>
  );
}
