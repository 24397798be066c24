import { formatDay } from "../format.ts";
import type { AccessToken } from "../trpc.ts";
import { useNow } from "../use-now.ts";
import { Age } from "./age.tsx";
import { ActionsHeader, RowButton } from "./row-button.tsx";

interface TokenTableProps {
  readonly tokens: readonly AccessToken[];
  readonly busy: boolean;
  readonly onRevoke: (id: string) => void;
}

export function TokenTable({ tokens, busy, onRevoke }: TokenTableProps) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Access tokens</caption>
      <thead>
        <tr>
          <th scope="col">Token</th>
          <th scope="col">May</th>
          <th scope="col">Last used</th>
          <th scope="col">Expires</th>
          <ActionsHeader className="text-md-end" />
        </tr>
      </thead>
      <tbody>
        {tokens.map((token) => (
          <tr key={token.id}>
            <th scope="row" className="stacked-title">
              <span className="text-break">{token.name}</span>
              <div className="small fw-normal text-body-secondary">
                made <Age at={token.createdAt} />
              </div>
            </th>
            <td data-label="May">{token.scopes.join(", ")}</td>
            <td data-label="Last used">
              {token.lastUsedAt === undefined ? "never" : <Age at={token.lastUsedAt} />}
            </td>
            <td data-label="Expires">
              <Expiry at={token.expiresAt} />
            </td>
            <td className="text-md-end">
              <RowButton
                act="Revoke"
                to={token.name}
                busy={busy}
                question={`Revoke ${token.name}? Whatever uses it is refused from then on.`}
                onPress={() => onRevoke(token.id)}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Expiry({ at }: { at: number | undefined }) {
  const now = useNow(60_000);
  if (at === undefined) return "never";
  if (at <= now) return "counts no more";
  return <time dateTime={new Date(at).toISOString()}>{formatDay(at)}</time>;
}
