import { Age } from "./age.tsx";

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
          <th scope="col" className="pe-3 text-end">
            <span className="visually-hidden">Actions</span>
          </th>
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
              <button
                type="button"
                className="btn btn-sm btn-outline-danger"
                disabled={busy}
                onClick={() => {
                  if (window.confirm(`Remove ${name}? Functions that name it fail at their next push.`)) {
                    onRemove(name);
                  }
                }}
              >
                Remove<span className="visually-hidden"> {name}</span>
              </button>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
