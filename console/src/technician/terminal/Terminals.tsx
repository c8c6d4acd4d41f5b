import { Button } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import type { Given, Visit } from '../../api/technicianTypes';
import { Failure } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { attach, type Attached } from './attach';

/** As many as the program on this computer opens: a browser has few connections to it. */
const MOST = 2;
const KEYS: [string, string][] = [
  ['Esc', '\x1b'], ['Tab', '\t'], ['Ctrl C', '\x03'], ['Ctrl D', '\x04'], ['↑', '\x1b[A'], ['↓', '\x1b[B'],
];

/** The terminals of the grant. Each lives in a frame of its own; it stays while other pages are shown. */
export function Terminals({ visit, given }: { visit: Visit; given: Given[] }) {
  const [opened, setOpened] = useState<{ key: number; scope: Given }[]>([]);
  const open = visit.phase === 'open';
  useStay(open && opened.length > 0);
  return (
    <Page title="Terminal" heading={`Terminal on ${visit.machine}`} lead="Everything that is typed and shown is recorded by the machine, for its owner.">
      {opened.map(({ key, scope }) => (
        <One key={key} scope={scope} visit={visit} onClose={() => setOpened((old) => old.filter((each) => each.key !== key))} />
      ))}
      <div className="tech-actions">
        {given.map((scope) => (
          <Button key={scope.place} variant={opened.length > 0 ? 'default' : 'filled'} size={opened.length > 0 ? 'sm' : 'md'} disabled={!open || opened.length >= MOST}
            onClick={() => setOpened((old) => [...old, { key: Date.now(), scope }])}>
            {opened.length > 0 ? 'Another: ' : 'Open '}{scope.words}
          </Button>
        ))}
      </div>
    </Page>
  );
}

/** A terminal ends with its page: the browser asks before it goes. */
function useStay(needed: boolean): void {
  useEffect(() => {
    if (!needed) return;
    const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [needed]);
}

function One({ scope, visit, onClose }: { scope: Given; visit: Visit; onClose: () => void }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const closer = useRef<HTMLButtonElement>(null);
  const attached = useRef<Attached | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  useEffect(() => () => attached.current?.close(), []);
  const begin = (): void => {
    if (!frame.current) return;
    // Whatever made it load again is not ours: it gets nothing.
    if (attached.current) {
      attached.current.close();
      setOver('The frame was loaded anew.');
      return;
    }
    attached.current = attach(frame.current, scope.place, {
      over: (words) => setOver(words || 'It ended.'),
      failed: setFailure,
      out: () => closer.current?.focus(),
    });
  };
  const title = `${scope.words.charAt(0).toUpperCase()}${scope.words.slice(1)}`;
  const ended = over !== null || failure !== null || visit.phase === 'over';
  return (
    <section className="panel tech-terminal" aria-label={title}>
      <div className="tech-terminal-head">
        <h2>{title}</h2>
        <button ref={closer} type="button" className="text-button" onClick={onClose}>
          {ended ? 'Put away' : 'Close'}
        </button>
      </div>
      <iframe ref={frame} className="tech-frame" sandbox="allow-scripts" referrerPolicy="no-referrer" src={`${visit.frame}/`} title={`${title}: what the machine shows`} onLoad={begin} />
      {!ended && (
        <div className="tech-keys" role="group" aria-label="Keys that a small keyboard has not">
          {KEYS.map(([name, text]) => (
            <button key={name} type="button" onClick={() => { attached.current?.type(text); attached.current?.focus(); }}>
              {name}
            </button>
          ))}
          <span className="quiet small tech-keys-note">Ctrl Alt . leaves it with the keyboard</span>
        </div>
      )}
      {over !== null && <Note tone="quiet" icon="check" live>{over}</Note>}
      {failure !== null && <Failure failure={failure} />}
    </section>
  );
}
