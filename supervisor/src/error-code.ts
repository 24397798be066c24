/** As the system names it (`EACCES`), or all there is to say. */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
