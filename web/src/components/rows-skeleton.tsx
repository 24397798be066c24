/** Stands where rows will be, as high as they will be. */
export function RowsSkeleton({ rows, what }: { rows: number; what: string }) {
  return (
    <div role="status" aria-label={`Loading ${what}`} className="placeholder-glow p-3">
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the rows have nothing but their place
        <div key={row} className="d-flex gap-3 py-2">
          <span className="placeholder rounded col-4" />
          <span className="placeholder rounded col-3 d-none d-md-block" />
          <span className="placeholder rounded col-2" />
          <span className="placeholder rounded col-1 ms-auto" />
        </div>
      ))}
    </div>
  );
}
