import { Button, Checkbox, TextInput } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import { technician } from '../../api/technicianClient';
import type { Given, Visit } from '../../api/technicianTypes';
import { Failure } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';
import { findLines, keepText, nothingKept, type Kept } from './keep';

const LAST = 500;
const DRAW_MS = 150;

/** A unit's journal: its last lines, and the new ones as they come; searched in the page. */
export function Logs({ visit, given }: { visit: Visit; given: Given[] }) {
  const [place, setPlace] = useState(given[0]?.place);
  const scope = given.find((each) => each.place === place) ?? given[0];
  return (
    <Page title="Logs" heading={`Logs of ${visit.machine}`} lead="Text as the machine keeps it. Control sequences in it were taken out.">
      {given.length > 1 && (
        <div className="tech-actions tech-under">
          {given.map((each) => (
            <Button key={each.place} size="xs" variant={each === scope ? 'filled' : 'default'} onClick={() => setPlace(each.place)}>
              {sayUnit(each)}
            </Button>
          ))}
        </div>
      )}
      {scope && <One key={scope.place} scope={scope} open={visit.phase === 'open'} />}
    </Page>
  );
}

const sayUnit = (scope: Given): string => (scope.name === '*' ? 'All logs' : scope.name);

interface Reading {
  kept: Kept;
  ended: boolean;
  failure: unknown;
}

/** Reads while `on`; pausing shows nothing new, and what comes meanwhile is there afterwards. */
function useLog(place: number, on: boolean, paused: boolean): Reading {
  const [reading, setReading] = useState<Reading>({ kept: nothingKept(), ended: false, failure: null });
  const held = useRef(reading);
  const pausing = useRef(paused);
  pausing.current = paused;
  useEffect(() => {
    if (!on) return;
    const stopper = new AbortController();
    held.current = { kept: nothingKept(), ended: false, failure: null };
    const timer = setInterval(() => !pausing.current && setReading(held.current), DRAW_MS);
    void (async () => {
      try {
        const response = await technician.logs(place, LAST, true, stopper.signal);
        const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const part = await reader?.read();
          if (!part || part.done) break;
          held.current = { ...held.current, kept: keepText(held.current.kept, part.value) };
        }
        held.current = { ...held.current, ended: true };
      } catch (failure) {
        if (!stopper.signal.aborted) held.current = { ...held.current, ended: true, failure };
      }
      setReading(held.current);
    })();
    return () => {
      stopper.abort();
      clearInterval(timer);
    };
  }, [place, on]);
  return reading;
}

function One({ scope, open }: { scope: Given; open: boolean }) {
  const [on, setOn] = useState(open);
  const [paused, setPaused] = useState(false);
  const [wanted, setWanted] = useState('');
  const [following, setFollowing] = useState(true);
  const { kept, ended, failure } = useLog(scope.place, on, paused);
  const shown = findLines(kept.lines, wanted.trim());
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (following && !paused && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, following, paused]);
  const name = sayUnit(scope);
  return (
    <section className="panel tech-log" aria-label={name}>
      <div className="tech-log-bar">
        <h2>{name}</h2>
        <TextInput aria-label={`Search in ${name}`} placeholder="Search in what is here" maxLength={200} leftSection={<Icon name="search" />} value={wanted} onChange={(event) => setWanted(event.currentTarget.value)} />
        <Checkbox label="Stay at the newest" checked={following} onChange={(event) => setFollowing(event.currentTarget.checked)} />
        {ended || !on ? (
          <Button size="xs" variant="default" disabled={!open} onClick={() => { setOn(false); setTimeout(() => setOn(true)); }}>Read again</Button>
        ) : (
          <Button size="xs" variant="default" aria-pressed={paused} onClick={() => setPaused(!paused)}>{paused ? 'Go on' : 'Pause'}</Button>
        )}
      </div>
      <pre ref={box} className="term tech-log-lines" tabIndex={0} role="region" aria-label={`Lines of ${name}`}>
        {shown.length === 0 ? (wanted.trim() === '' ? 'No line yet.' : 'No line has that.') : shown.join('\n')}
      </pre>
      <p className="small quiet number panel-pad" role="status">
        {wanted.trim() === '' ? `${sayCount(kept.lines.length)} lines` : `${sayCount(shown.length)} of ${sayCount(kept.lines.length)} lines`}
        {kept.dropped > 0 && `, ${sayCount(kept.dropped)} older ones were let go`}
        {paused ? '; paused' : ended ? '; it has ended' : '; new ones come by themselves'}
      </p>
      {failure !== null && <Failure failure={failure} />}
    </section>
  );
}
