import { Link } from "react-router";

/** `reason` says more than that the address is unknown, where more is known. */
export function NotFound({ reason = "There is no page at this address." }: { reason?: string }) {
  return (
    <>
      <title>Not found · OpenFaaS Cloud</title>
      <h1 className="h3">Not found</h1>
      <p className="text-break">{reason}</p>
      <Link to="/" className="btn btn-primary">
        All functions
      </Link>
    </>
  );
}
