import { useEffect, useState } from 'react';

/** When this browser last looked at something; told before this visit is written down. */

const before = new Map<string, string | null>();

function readBefore(key: string): string | null {
  if (!before.has(key)) before.set(key, localStorage.getItem(key));
  return before.get(key) ?? null;
}

export function useLastVisit(what: string): string | null {
  const key = `fleetward.visit.${what}`;
  const [at] = useState(() => readBefore(key));
  useEffect(() => {
    const note = (): void => localStorage.setItem(key, new Date().toISOString());
    note();
    addEventListener('pagehide', note);
    return () => {
      note();
      removeEventListener('pagehide', note);
    };
  }, [key]);
  return at;
}
