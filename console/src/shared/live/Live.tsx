import { useQueryClient } from '@tanstack/react-query';
import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { ApiFailure, type Http } from '../../api/http';
import { keysFor, readEvents, type Key } from './events';

/** live: by the stream; polling: every 10 s; down: the server does not answer. */
export type Mode = 'starting' | 'live' | 'polling' | 'down';

export interface Link {
  mode: Mode;
  /** The last moment at which the server was heard. */
  heardAt: number | null;
}

/** Who is at the other end, and who can start it again. */
export interface Peer {
  who: string;
  cure: string;
}

export const SERVER: Peer = {
  who: 'The server',
  cure: 'Whoever runs it can start it again: fleetward up --data DIR.',
};

const LinkContext = createContext<Link & Peer>({ mode: 'starting', heardAt: null, ...SERVER });
export const useLink = (): Link & Peer => useContext(LinkContext);

const POLL_MS = 10_000;
const LIVE_REFRESH_MS = 60_000;
const SILENCE_MS = 45_000;
const GATHER_MS = 250;
/** A busy fleet sends many events a second; a page asks again at most this often. */
const APART_MS = 1_000;
const WAITS_MS = [1_000, 2_000, 4_000, 8_000, 10_000];

type Hear = (keys: Key[] | null) => void;

async function readStream(http: Http, signal: AbortSignal, onOpen: () => void, hear: Hear) {
  const quiet = new AbortController();
  const stop = (): void => quiet.abort();
  signal.addEventListener('abort', stop);
  let timer = setTimeout(stop, SILENCE_MS);
  try {
    const response = await http.send('GET', '/stream', undefined, quiet.signal);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (!reader) return;
    onOpen();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE_MS);
      const read = readEvents(rest + value);
      rest = read.rest;
      for (const event of read.events) hear(keysFor(event));
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds * (0.8 + Math.random() * 0.4));
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

/** Gathers what became old for a moment, then asks for it again at once. */
function useRefresher(): Hear {
  const client = useQueryClient();
  const old = useRef(new Map<string, Key>());
  const all = useRef(false);
  const timer = useRef<number | null>(null);
  const askedAt = useRef(0);
  return useCallback(
    (keys) => {
      if (keys === null) all.current = true;
      else for (const key of keys) old.current.set(key.join('/'), key);
      if (timer.current !== null || (!all.current && old.current.size === 0)) return;
      const wait = Math.max(GATHER_MS, askedAt.current + APART_MS - Date.now());
      timer.current = window.setTimeout(() => {
        timer.current = null;
        askedAt.current = Date.now();
        const gathered = [...old.current.values()];
        const everything = all.current;
        old.current.clear();
        all.current = false;
        if (everything) void client.invalidateQueries();
        else for (const queryKey of gathered) void client.invalidateQueries({ queryKey });
      }, wait);
    },
    [client],
  );
}

export function LiveProvider({ http, peer, children }: { http: Http; peer: Peer; children: ReactNode }) {
  const [link, setLink] = useState<Link>({ mode: 'starting', heardAt: null });
  const hear = useRefresher();

  useEffect(() => {
    const stopper = new AbortController();
    const { signal } = stopper;
    const become = (mode: Mode): void =>
      setLink((old) => ({ mode, heardAt: mode === 'down' ? old.heardAt : Date.now() }));
    void (async () => {
      for (let failures = 0; !signal.aborted; failures += 1) {
        try {
          await readStream(
            http,
            signal,
            () => {
              failures = 0;
              become('live');
              hear(null);
            },
            (keys) => {
              setLink((old) => ({ ...old, heardAt: Date.now() }));
              hear(keys);
            },
          );
        } catch (cause) {
          if (signal.aborted) return;
          if (cause instanceof ApiFailure && cause.kind === 'signed_out') return;
          become(cause instanceof ApiFailure && cause.kind !== 'down' ? 'polling' : 'down');
        }
        await pause(WAITS_MS[Math.min(failures, WAITS_MS.length - 1)] ?? POLL_MS, signal);
      }
    })();
    return () => stopper.abort();
  }, [http, hear]);

  useEffect(() => {
    const every = link.mode === 'live' ? LIVE_REFRESH_MS : POLL_MS;
    const timer = setInterval(() => hear(null), every);
    return () => clearInterval(timer);
  }, [link.mode, hear]);

  useEffect(() => {
    document.documentElement.dataset.link = link.mode;
  }, [link.mode]);

  const value = useMemo(() => ({ ...link, ...peer }), [link, peer]);
  return <LinkContext.Provider value={value}>{children}</LinkContext.Provider>;
}
