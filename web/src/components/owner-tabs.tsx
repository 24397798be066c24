import { NavLink, useLocation } from "react-router";

/** The pages of one owner. */
export function OwnerTabs({ owner }: { owner: string }) {
  const { pathname } = useLocation();
  // A person of one owner has its functions on the first page of all.
  const functions = pathname === "/" ? "/" : `/${owner}`;
  return (
    <nav aria-label={`Pages of ${owner}`} className="owner-tabs mb-4">
      <ul className="nav nav-tabs flex-nowrap">
        {pages(owner, functions).map(({ to, name }) => (
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

function pages(owner: string, functions: string) {
  return [
    { to: functions, name: "Functions" },
    { to: `/repositories/${owner}`, name: "Repositories" },
    { to: `/secrets/${owner}`, name: "Secrets" },
  ];
}
