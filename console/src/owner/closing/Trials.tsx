import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { ClosedSigned, Trial } from '../../api/ownerTypes';
import { sayCountdown } from '../../shared/closing/tiers';
import { Failure } from '../../shared/ui/Answer';
import { Note } from '../../shared/ui/State';

/** What machines hold on trial, how long still, and the owner's word that it stays. */
export function Trials({ trials, onDone }: { trials: Trial[]; onDone: (done: ClosedSigned) => void }) {
  return (
    <>
      {trials.map((trial) => (
        <div key={trial.id} className="closing-trial">
          <OneTrial trial={trial} onDone={onDone} />
        </div>
      ))}
    </>
  );
}

function OneTrial({ trial, onDone }: { trial: Trial; onDone: (done: ClosedSigned) => void }) {
  const client = useQueryClient();
  const left = useLeft(trial.ends_at);
  const keep = useMutation({
    mutationFn: () => owner.keepClosed(trial.id),
    onSuccess: async (done) => {
      onDone(done);
      await client.invalidateQueries({ queryKey: ['closing'] });
    },
  });
  const many = trial.machines.length;
  return (
    <Note tone="warn" icon="clock">
      <strong>
        {many === 1 ? `${trial.machines[0]} has` : `${many} machines have`} closed {trial.words}, and{' '}
        {many === 1 ? 'still answers' : 'still answer'}.
      </strong>
      <p>
        Keep it? Otherwise it opens again by itself in <span className="number" role="timer">{sayCountdown(left)}</span>.
      </p>
      {trial.cut.length > 0 && <p className="small">Cut off: {trial.cut.slice(0, 8).join('; ')}{trial.cut.length > 8 && ` and ${trial.cut.length - 8} more`}.</p>}
      {trial.others.length > 0 && <p className="small">Not closed: {trial.others.slice(0, 4).join('; ')}{trial.others.length > 4 && ` and ${trial.others.length - 4} more`}</p>}
      {keep.error && <Failure failure={keep.error} />}
      <Button mt={8} loading={keep.isPending} onClick={() => keep.mutate()}>
        Keep it closed
      </Button>
    </Note>
  );
}

/** Milliseconds until then, every second. */
function useLeft(at: string): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return Date.parse(at) - now;
}
