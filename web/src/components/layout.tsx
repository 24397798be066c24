import { useEffect, useRef } from "react";
import { NavigationType, Outlet, useLocation, useNavigationType, useParams } from "react-router";
import { useOwners, usePerson } from "../session.tsx";
import { AccountMenu } from "./account-menu.tsx";
import { Brand } from "./brand.tsx";
import { ConnectionBanner } from "./connection-banner.tsx";
import { OwnerSwitch } from "./owner-switch.tsx";

export function Layout() {
  const { name, isOperator } = usePerson();
  const owners = useOwners();
  const { owner } = useParams();
  const { pathname } = useLocation();
  const navigation = useNavigationType();
  const main = useRef<HTMLElement>(null);
  const shown = useRef(pathname);

  useEffect(() => {
    if (shown.current === pathname) return;
    shown.current = pathname;
    // A new page is read from its top, by eye and by screen reader; going back keeps the place.
    main.current?.focus({ preventScroll: true });
    if (navigation !== NavigationType.Pop) window.scrollTo(0, 0);
  }, [pathname, navigation]);

  return (
    <>
      <a
        href="#main"
        className="visually-hidden-focusable position-absolute top-0 start-0 m-2 btn btn-primary z-3"
      >
        Skip to the content
      </a>
      <header className="navbar border-bottom bg-body py-2">
        <div className="container-xl flex-nowrap gap-3">
          <Brand brief={owners.length > 1} />
          <div className="flex-grow-1 owner-switch-place">
            <OwnerSwitch owners={owners} current={owner} />
          </div>
          <AccountMenu name={name} isOperator={isOperator} />
        </div>
      </header>
      <ConnectionBanner />
      <main id="main" ref={main} tabIndex={-1} className="container-xl py-4">
        <Outlet />
      </main>
    </>
  );
}
