import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** Who is asked about: an account of a source host. */
export interface CustomerQuestion {
  /** `github.com`, `gitlab.example.com/git`. */
  readonly instance: string;
  readonly owner: { readonly sourceId: string; readonly login: string };
}

/**
 * The list of customers as the original OpenFaaS Cloud has it, one account or organisation a line: trimmed, without regard to
 * case, blank lines dropped. Beyond that, whatever follows `#` is a comment, and a line may be
 *
 * - `alice`: this login at any source host
 * - `github.com/alice`, `gitlab.example.com/git/group`: this login at this host only
 * - `github.com:id:583231`: the account with this id, whatever it is called now
 * - `*`: anybody
 *
 * The original also had a rule against logins of which one is another with `-` and more behind it (`alice`, `alice-shop`), since
 * it told functions apart by `<owner>-<function>`. Here identity is by id and the two names are never joined, so any logins may
 * stand beside each other.
 */
export class CustomerList {
  readonly #lines: ReadonlySet<string>;

  /**
   * @throws KnownError `customers-invalid`, for the whole list, where a line can be none of this: an error page is no list. Nor is
   * a blank one, which is what a file looks like that is just being written; a comment alone is a list with nobody on it.
   */
  constructor(text: string) {
    if (text.trim() === "") {
      throw new KnownError(
        "customers-invalid",
        "The list of customers is blank. To allow nobody, leave a comment in it.",
      );
    }
    const lines = text
      .replace(/^\uFEFF/, "")
      .split("\n")
      .map((line) =>
        line
          .replace(/(^|\s)#.*$/, "")
          .trim()
          .toLowerCase(),
      );
    const strange = lines.findIndex((line) => line !== "" && !LINE.test(line));
    if (strange !== -1) {
      throw new KnownError(
        "customers-invalid",
        `Line ${strange + 1} of the list of customers is no login, so none of the list counts. A line is a login, <host>/<login>, <host>:id:<number> or *.`,
      );
    }
    this.#lines = new Set(lines.filter((line) => line !== ""));
  }

  has({ instance, owner }: CustomerQuestion): boolean {
    const { sourceId, login } = owner;
    const ways = ["*", login, `${instance}/${login}`, `${instance}:id:${sourceId}`];
    return ways.some((way) => this.#lines.has(way.toLowerCase()));
  }
}

/** What hosts allow in a login; a personal project of Bitbucket Data Center begins with `~`. */
const LOGIN = "~?[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_-])?";
const HOST = "[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9._~-]{1,100}){0,10}?";
const LINE = new RegExp(`^(?:\\*|${LOGIN}|${HOST}/${LOGIN}|${HOST}:id:[a-z0-9{}:_-]{1,100})$`);
