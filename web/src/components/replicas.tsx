/** `1 of 3`, which is also read aloud so. */
export function Replicas({ ready, wanted }: { ready: number; wanted: number }) {
  return (
    <span className={ready < wanted ? "text-nowrap fw-semibold text-danger-emphasis" : "text-nowrap"}>
      {ready} of {wanted}
    </span>
  );
}
