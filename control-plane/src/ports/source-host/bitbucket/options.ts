export interface BitbucketOptions {
  /** Folder for clones, this host's own. */
  readonly root: string;
  /** Where the world sends deliveries: `https://system.example.com/bitbucket-event`. */
  readonly webhookUrl: string;
  /** How calls are tried, where that is not to be as everywhere. */
  readonly client?: { readonly tryMs?: number; readonly firstPauseMs?: number };
}
