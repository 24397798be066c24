import { Icon } from "./icon.tsx";

interface SignInHostsProps {
  readonly hosts: readonly { readonly instance: string; readonly title: string; readonly url: string }[];
  /** The page to come back to, below `/dashboard/`. */
  readonly returnTo: string;
}

export function SignInHosts({ hosts, returnTo }: SignInHostsProps) {
  return (
    <div className="d-grid gap-2 mb-4">
      {hosts.map(({ instance, title, url }) => (
        <a
          key={instance}
          href={`${url}?${new URLSearchParams({ return: returnTo })}`}
          className="btn btn-primary btn-lg text-break d-inline-flex justify-content-center align-items-center gap-2"
        >
          <Icon name="enter" />
          Continue with {title}
        </a>
      ))}
    </div>
  );
}
