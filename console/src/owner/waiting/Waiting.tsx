import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { PendingMachine, Signed } from '../../api/ownerTypes';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { parseTime, sayClock } from '../../shared/time/time';
import { Age } from '../../shared/time/AsOf';
import { Confirm } from './Confirm';

/** Is this machine the one that you think it is? One at a time, the longest wait first. */
export function Waiting() {
  const pending = useQuery({ queryKey: ['pending'], queryFn: owner.pending });
  const [chosen, choose] = useState<string | null>(null);
  const [done, setDone] = useState<Signed | null>(null);
  return (
    <Answer of={pending} title="Waiting">
      {(list) => {
        const machine = list.items.find((item) => item.id === chosen) ?? list.items[0];
        return (
          <>
            {done && (
              <div className="owner-done">
                <Note tone={done.handed_over ? 'good' : 'warn'} icon={done.handed_over ? 'check' : 'clock'} live>
                  <strong>
                    {done.handed_over ? 'Signed, and handed to the server.' : 'Signed, and kept here: the server is not in reach.'}
                  </strong>{' '}
                  {done.words}
                </Note>
              </div>
            )}
            {machine ? (
              <>
                <Confirm key={machine.id} machine={machine} asOf={pending.dataUpdatedAt} onDone={setDone} />
                <Others items={list.items} shown={machine.id} onChoose={choose} />
              </>
            ) : (
              <NobodyWaits asOf={pending.dataUpdatedAt} />
            )}
          </>
        );
      }}
    </Answer>
  );
}

function NobodyWaits({ asOf }: { asOf: number }) {
  return (
    <Page title="Waiting" heading="No machine waits">
      <Empty title={`Nothing needs you. Last checked ${sayClock(asOf)}.`}>
        <p className="quiet small">A machine that joins with your invitation appears here by itself.</p>
      </Empty>
    </Page>
  );
}

function Others({ items, shown, onChoose }: { items: PendingMachine[]; shown: string; onChoose: (id: string) => void }) {
  const others = items.filter((item) => item.id !== shown);
  if (others.length === 0) return null;
  const oldest = [...others].sort((a, b) => (parseTime(a.joined_at) ?? 0) - (parseTime(b.joined_at) ?? 0));
  return (
    <section className="section" aria-labelledby="others-title">
      <div className="section-head">
        <h2 id="others-title">Also waiting</h2>
      </div>
      <ul className="panel rows">
        {oldest.map((item) => (
          <li key={item.id}>
            <button type="button" className="other" onClick={() => onChoose(item.id)}>
              <span className="truncate" title={item.name_suggested}>{item.name_suggested}</span>
              <span className="small quiet truncate">{item.site}</span>
              <span className="small quiet"><Age at={item.joined_at} /></span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
