import { Link } from "react-router";

/** `brief` leaves the word to screens that have room for it. */
export function Brand({ brief = false }: { brief?: boolean }) {
  return (
    <Link to="/" className="navbar-brand d-inline-flex align-items-center gap-2 me-0 fw-semibold">
      <img src={`${import.meta.env.BASE_URL}favicon.svg`} alt="" width={28} height={28} />
      <span className={brief ? "brand-brief" : ""}>OpenFaaS Cloud</span>
    </Link>
  );
}
