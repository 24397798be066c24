import { Navigate, Outlet, useLocation } from "react-router";
import { canonicalPath } from "../old-links.ts";

/** Leads from an owner written in any case to the one there is, and keeps the rest of the address. */
export function CanonicalOwner() {
  const { pathname, search, hash } = useLocation();
  const canonical = canonicalPath(pathname);
  if (canonical === pathname) return <Outlet />;
  return <Navigate to={{ pathname: canonical, search, hash }} replace />;
}
