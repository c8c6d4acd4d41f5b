/** What a key of the owner may sign, in a person's words. */
const SCOPES: Record<string, string> = {
  policy: 'this policy',
  roster: 'the list of machines',
  head: 'what is newest',
  invite: 'invitations',
  approve: 'requests',
  lease: 'how long it holds',
  recovery: 'a recovery',
};

/** A scope of a later policy is shown as it is called there. */
export const sayScope = (scope: string): string => SCOPES[scope] ?? scope;
