import { useEffect, useRef } from 'react';
import type { Run, Screen } from './screen';
import './terminal.css';

/** A recorded screen as text. Every character is a text node; nothing of it can act. */
export function Terminal({ screen, version, label, follow }: { screen: Screen; version: number; label: string; follow: boolean }) {
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [version, follow]);
  return (
    <pre ref={box} className="term" tabIndex={0} role="region" aria-label={label}>
      {screen.lines().map((runs, at) => (
        <Line key={at} runs={runs} />
      ))}
    </pre>
  );
}

function Line({ runs }: { runs: Run[] }) {
  return (
    <>
      {runs.map((run, at) => (run.look === '' ? run.text : <span key={at} className={run.look}>{run.text}</span>))}
      {'\n'}
    </>
  );
}
