/** Names only, and the word for having none. */
export function Names({ names }: { names: readonly string[] }) {
  if (names.length === 0) return <span className="text-body-secondary">None</span>;
  return (
    <ul className="list-inline mb-0">
      {names.map((name) => (
        <li key={name} className="list-inline-item me-1 mb-1">
          <code className="chip">{name}</code>
        </li>
      ))}
    </ul>
  );
}
