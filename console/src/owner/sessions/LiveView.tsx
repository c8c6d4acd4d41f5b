import { Button } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Access, Screening } from '../../api/ownerTypes';
import { Terminal } from '../../shared/terminal/Terminal';
import { Failure } from '../../shared/ui/Answer';
import { Note } from '../../shared/ui/State';
import { Marks } from './Marks';
import { makeShowing, showEvents, type Showing } from './showing';

const EVERY_MS = 300;
const TROUBLE_MS = 2_000;

/** The session as it goes on. While this is open and seen, the machine is told that somebody watches. */
export function LiveView({ item, watchNow }: { item: Access; watchNow: boolean }) {
  const [watching, setWatching] = useState(watchNow);
  if (!watching) {
    return (
      <div className="panel panel-pad access-start">
        <p>
          {item.watched
            ? 'This session ends when nobody watches for 15 seconds.'
            : 'Nobody has to watch this one. That you looked is written down.'}
        </p>
        <Button onClick={() => setWatching(true)}>Watch live</Button>
      </div>
    );
  }
  return <Watching item={item} onStop={() => setWatching(false)} />;
}

interface Seen {
  showing: Showing;
  version: number;
  last: Screening | null;
  failure: unknown;
}

function useRecording(id: string): Seen {
  const [seen, setSeen] = useState<Seen>(() => ({ showing: makeShowing(), version: 0, last: null, failure: null }));
  const client = useQueryClient();
  useEffect(() => {
    let over = false;
    let timer = 0;
    let begin = 0;
    const showing = makeShowing();
    const look = async (): Promise<void> => {
      let wait = EVERY_MS;
      if (document.visibilityState === 'visible') {
        try {
          const part = await owner.recording(id, begin, true);
          if (over) return;
          begin = part.next;
          showEvents(showing, part.events);
          setSeen((old) => ({ showing, version: old.version + (part.events.length > 0 ? 1 : 0), last: part, failure: null }));
          if (part.done) {
            await client.invalidateQueries({ queryKey: ['access'] });
            return;
          }
        } catch (failure) {
          if (over) return;
          wait = TROUBLE_MS;
          setSeen((old) => ({ ...old, failure }));
        }
      }
      timer = window.setTimeout(() => void look(), wait);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [id, client]);
  return seen;
}

function Watching({ item, onStop }: { item: Access; onStop: () => void }) {
  const { showing, version, last, failure } = useRecording(item.id);
  return (
    <div className="access-view">
      {failure !== null && <Failure failure={failure} />}
      {last?.beats && (
        <Note tone="warn" icon="alert" live>
          <strong>The machine may not know that you watch.</strong> {last.beats}
        </Note>
      )}
      {last?.state === 'false' && (
        <Note tone="bad" icon="alert" live>
          <strong>This is not what the machine recorded.</strong> {last.words}
        </Note>
      )}
      <Terminal screen={showing.screen} version={version} label={`What ${item.person} sees`} follow />
      <Marks marks={showing.marks} />
      <div>
        <Button variant="default" onClick={onStop}>
          Watch no longer
        </Button>
      </div>
    </div>
  );
}
