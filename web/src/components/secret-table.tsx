import { Age } from "./age.tsx";
import { ActionsHeader, RowButton } from "./row-button.tsx";

interface SecretTableProps {
  readonly secrets: readonly { readonly name: string; readonly updatedAt: number }[];
  readonly busy: boolean;
  readonly onRemove: (name: string) => void;
}

export function SecretTable({ secrets, busy, onRemove }: SecretTableProps) {
  return (
    <table className="table align-middle mb-0">
      <thead className="small">
        <tr>
          <th scope="col" className="ps-3 fw-normal text-body-secondary">
            Name
          </th>
          <th scope="col" className="fw-normal text-body-secondary">
            Set
          </th>
          <ActionsHeader className="pe-3 text-end" />
        </tr>
      </thead>
      <tbody>
        {secrets.map(({ name, updatedAt }) => (
          <tr key={name}>
            <th scope="row" className="ps-3 fw-normal font-monospace text-break">
              {name}
            </th>
            <td>
              <Age at={updatedAt} />
            </td>
            <td className="pe-3 text-end">
              <RowButton
                act="Remove"
                to={name}
                busy={busy}
                question={`Remove ${name}? Functions that name it fail at their next push.`}
                onPress={() => onRemove(name)}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
