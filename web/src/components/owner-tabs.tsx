import { NavLink, useLocation } from "react-router";
import { usePerson } from "../session.tsx";

/** The pages of one owner. */
export function OwnerTabs({ owner }: { owner: string }) {
  const { pathname } = useLocation();
  const isAdmin = usePerson().owners.some(({ slug, role }) => slug === owner && role === "admin");
  // A person of one owner has its functions on the first page of all.
  const functions = pathname === "/" ? "/" : `/${owner}`;
  return (
    <nav aria-label={`Pages of ${owner}`} className="owner-tabs mb-4">
      <ul className="nav nav-tabs flex-nowrap">
        {pages(owner, functions, isAdmin).map(({ to, name }) => (
          <li key={to} className="nav-item">
            <NavLink to={to} end className="nav-link">
              {name}
            </NavLink>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function pages(owner: string, functions: string, isAdmin: boolean) {
  return [
    { to: functions, name: "Functions" },
    { to: `/repositories/${owner}`, name: "Repositories" },
    { to: `/secrets/${owner}`, name: "Secrets" },
    ...(isAdmin ? [{ to: `/audit/${owner}`, name: "Audit trail" }] : []),
  ];
}
