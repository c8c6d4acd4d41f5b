import { Button, Group, SegmentedControl, Slider } from '@mantine/core';
import { useEffect, useMemo, useRef, useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Access, RecordedEvent, Screening } from '../../api/ownerTypes';
import { Terminal } from '../../shared/terminal/Terminal';
import { Failure, Loading } from '../../shared/ui/Answer';
import { Note } from '../../shared/ui/State';
import { Marks } from './Marks';
import { makeShowing, showEvents } from './showing';
import { sayClockOf, timesOf } from './sayings';

interface Loaded {
  events: RecordedEvent[];
  last: Screening;
}

/** A session that is over, shown again. It is fetched and checked by the owner’s own program. */
export function Replay({ item }: { item: Access }) {
  const [asked, setAsked] = useState(false);
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  useEffect(() => {
    if (!asked) return;
    let over = false;
    void (async () => {
      const events: RecordedEvent[] = [];
      try {
        for (;;) {
          const part = await owner.recording(item.id, events.length, false);
          if (over) return;
          events.push(...part.events);
          if (part.done || part.events.length === 0) {
            setLoaded({ events, last: part });
            return;
          }
        }
      } catch (cause) {
        if (!over) setFailure(cause);
      }
    })();
    return () => {
      over = true;
    };
  }, [asked, item.id]);
  if (failure !== null) return <Failure failure={failure} />;
  if (!asked) {
    return (
      <div className="panel panel-pad access-start">
        <p>The recording is opened here, with your key. That you looked is written down.</p>
        <Button onClick={() => setAsked(true)}>Open the recording</Button>
      </div>
    );
  }
  return loaded === null ? <Loading /> : <Player item={item} {...loaded} />;
}

const VERDICTS: Record<Screening['state'], 'good' | 'warn' | 'bad'> = {
  whole: 'good', open: 'warn', short: 'warn', long: 'warn', false: 'bad',
};

function Player({ item, events, last }: Loaded & { item: Access }) {
  const times = useMemo(() => timesOf(events), [events]);
  const length = times.at(-1) ?? 0;
  const [at, setAt] = useState(length);
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState('1');
  usePlaying(playing, Number(speed), length, setAt, () => setPlaying(false));
  const { showing, count } = useMoment(events, times, at);
  return (
    <div className="access-view">
      <Note tone={VERDICTS[last.state]} icon={last.state === 'whole' ? 'proof' : 'alert'}>
        {last.words}
      </Note>
      {events.length === 0 ? (
        <p className="quiet">Nothing was shown or done in it.</p>
      ) : (
        <>
          <Terminal screen={showing.screen} version={count} label={`What ${item.person} saw`} follow />
          <Group gap="md" className="access-player">
            <Button
              onClick={() => {
                if (!playing && at >= length) setAt(0);
                setPlaying(!playing);
              }}
            >
              {playing ? 'Pause' : at >= length ? 'Play from the beginning' : 'Play'}
            </Button>
            <SegmentedControl aria-label="Speed" value={speed} onChange={setSpeed} data={['1', '2', '4', '8'].map((each) => ({ value: each, label: `${each}×` }))} />
            <Slider
              className="access-slider"
              thumbLabel="Moment of the recording"
              thumbProps={{ 'aria-label': 'Moment of the recording' }}
              min={0}
              max={Math.max(length, 0.1)}
              step={0.1}
              label={sayClockOf}
              value={at}
              onChange={(value) => {
                setPlaying(false);
                setAt(value);
              }}
            />
            <span className="small quiet number">{sayClockOf(at)} of {sayClockOf(length)}</span>
          </Group>
          <Marks marks={showing.marks} />
        </>
      )}
    </div>
  );
}

/** Moves the moment on while it plays. */
function usePlaying(playing: boolean, speed: number, length: number, move: (act: (at: number) => number) => void, end: () => void) {
  const finish = useRef(end);
  finish.current = end;
  useEffect(() => {
    if (!playing) return;
    let before = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const by = ((now - before) / 1000) * speed;
      before = now;
      move((at) => {
        if (at + by >= length) queueMicrotask(() => finish.current());
        return Math.min(length, at + by);
      });
    }, 60);
    return () => clearInterval(timer);
  }, [playing, speed, length, move]);
}

/** The screen at a moment: goes on from the last one where it can, and begins anew where not. */
function useMoment(events: RecordedEvent[], times: number[], at: number) {
  const held = useRef({ showing: makeShowing(), count: 0 });
  let count = times.length;
  while (count > 0 && (times[count - 1] ?? 0) > at) count -= 1;
  if (count < held.current.count) held.current = { showing: makeShowing(), count: 0 };
  if (count > held.current.count) {
    showEvents(held.current.showing, events.slice(held.current.count, count));
    held.current.count = count;
  }
  return { showing: held.current.showing, count };
}
