/** What a person may do for an owner. Each includes those before it. */
export const ROLES = ["viewer", "developer", "admin"] as const;
export type Role = (typeof ROLES)[number];

export function isAtLeast(role: Role, wanted: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(wanted);
}

/** The one that allows more. */
export function higher(a: Role, b: Role): Role {
  return isAtLeast(a, b) ? a : b;
}
