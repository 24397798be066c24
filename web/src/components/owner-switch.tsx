import { NavLink } from "react-router";
import { Menu } from "./menu.tsx";

/** Absent for a person of one owner: there is nothing to switch to. */
export function OwnerSwitch({ owners, current }: { owners: readonly string[]; current: string | undefined }) {
  if (owners.length < 2) return null;
  return (
    <nav aria-label="Owner" className="owner-switch">
      <Menu
        name={`Owner: ${current ?? "all"}`}
        label={<span className="text-truncate">{current ?? "All owners"}</span>}
      >
        <NavLink to="/" end className="dropdown-item">
          All owners
        </NavLink>
        <hr className="dropdown-divider" />
        {owners.map((owner) => (
          <NavLink key={owner} to={`/${owner}`} className="dropdown-item text-truncate">
            {owner}
          </NavLink>
        ))}
      </Menu>
    </nav>
  );
}
