import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { Drill, DrillStep as Step, Tour } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { Note, State, type Face } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { faceOfDevice } from '../../shared/words/faces';
import { useMachine } from './useMachine';

const FACES: Record<Step['outcome'], Face> = {
  waiting: { tone: 'quiet', icon: 'clock', words: 'Under way' },
  refused: { tone: 'good', icon: 'check', words: 'Refused' },
  accepted: { tone: 'bad', icon: 'alert', words: 'Accepted' },
  skipped: { tone: 'quiet', icon: 'right', words: 'Not tried' },
  unanswered: { tone: 'quiet', icon: 'clock', words: 'No answer' },
};

export function DrillStep({ tour, onDrill }: { tour: Tour; onDrill: () => void }) {
  const { id } = useMachine(tour);
  const [drill, setDrill] = useState<string | null>(null);
  const client = useQueryClient();
  const start = useMutation({
    mutationFn: () => api.startDrill(id ?? ''),
    onSuccess: async (made) => {
      setDrill(made.id);
      onDrill();
      await client.invalidateQueries({ queryKey: ['tour'] });
    },
  });
  return (
    <>
      <p className="tour-lead">
        This runs real attacks on your machine with everything that the server holds: its database, its keys, its
        certificates and an administrator’s account. Your machine refuses each, and says why.
      </p>
      <Button size="md" variant={drill ? 'default' : 'filled'} disabled={id === null} loading={start.isPending} onClick={() => start.mutate()}>
        {drill ? 'Steal it again' : 'Steal the server'}
      </Button>
      {start.error && (
        <div className="tour-gap">
          <Failure failure={start.error} />
        </div>
      )}
      {drill && id && <Running drill={drill} device={id} />}
    </>
  );
}

function Running({ drill, device }: { drill: string; device: string }) {
  const run = useQuery({
    queryKey: ['drill', drill],
    queryFn: () => api.drill(drill),
    refetchInterval: (query) =>
      query.state.data?.state === 'running' ? 1_500 : false,
  });
  return (
    <div className="tour-gap" aria-live="polite">
      <Answer of={run}>{(data) => <Attacks drill={data} device={device} />}</Answer>
    </div>
  );
}

function Attacks({ drill, device }: { drill: Drill; device: string }) {
  return (
    <>
      <ul className="panel rows attacks">
        {drill.steps.map((step) => (
          <li key={step.id} data-outcome={step.outcome}>
            <div>
              <strong>{step.attack}</strong>
              <p>{step.words}</p>
              {step.answer && <p className="attack-answer"><Words text={step.answer} /></p>}
              {step.at && <span className="small quiet"><Age at={step.at} /></span>}
            </div>
            <State face={FACES[step.outcome]} />
          </li>
        ))}
      </ul>
      {drill.state !== 'running' && <Verdict drill={drill} device={device} />}
    </>
  );
}

function Verdict({ drill, device }: { drill: Drill; device: string }) {
  const state = useQuery({ queryKey: ['device', device], queryFn: () => api.device(device) });
  const tried = drill.steps.filter((step) => step.outcome !== 'skipped');
  const accepted = tried.filter((step) => step.outcome === 'accepted').length;
  return (
    <div className="tour-gap">
      {drill.state === 'unanswered' ? (
        <Note tone="warn" icon="clock" live>
          <strong>Your machine did not answer everything.</strong>
          <p>Look whether it is connected, and steal the server again when it is.</p>
        </Note>
      ) : accepted > 0 || drill.state === 'failed' ? (
        <Note tone="bad" icon="alert" live>
          <strong>{accepted} of {tried.length} were accepted.</strong>
          <p>That must not happen. Please report it: SECURITY.md says how.</p>
        </Note>
      ) : (
        <Note tone="good" icon="check" live>
          <strong>All {tried.length} were refused. Nothing changed on your machine.</strong>
          {state.data && (
            <p className="tour-machine">
              <Link href={`/devices/${device}`} className="truncate">{state.data.name}</Link>
              <State face={faceOfDevice(state.data.state, state.data.confirmed)} />
            </p>
          )}
        </Note>
      )}
    </div>
  );
}
