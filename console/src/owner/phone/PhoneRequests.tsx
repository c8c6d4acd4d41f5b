import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Access, Answered } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { faceOfAccess, isWaiting, sayWho } from '../sessions/sayings';
import { Ask } from './Ask';

/** Who asks, one at a time: the one who waits longest, and can be answered, first. */
export function PhoneRequests() {
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  const client = useQueryClient();
  const [chosen, choose] = useState<string | null>(null);
  const [done, setDone] = useState<Answered | null>(null);
  const finish = async (answered: Answered): Promise<void> => {
    setDone(answered);
    choose(null);
    await client.invalidateQueries({ queryKey: ['access'] });
  };
  return (
    <Answer of={access} title="Requests">
      {(list) => {
        const waiting = list.items.filter(isWaiting).reverse();
        const item = waiting.find((each) => each.id === chosen) ?? waiting.find((each) => each.state === 'offered') ?? waiting[0];
        return (
          <>
            {done && (
              <div className="owner-done">
                <Note tone="good" icon="check" live>
                  <strong>{done.words}</strong>{' '}
                  {done.watched && 'It ends when nobody watches it: do that now, at the owner’s computer.'}
                </Note>
              </div>
            )}
            {item ? (
              <>
                <Ask key={item.id} item={item} onDone={finish} />
                <Others items={waiting.filter((each) => each.id !== item.id)} onChoose={choose} />
              </>
            ) : (
              <Page title="Requests" heading="Nobody asks to enter">
                <Empty title="Nothing needs your answer." />
              </Page>
            )}
          </>
        );
      }}
    </Answer>
  );
}

function Others({ items, onChoose }: { items: Access[]; onChoose: (id: string) => void }) {
  if (items.length === 0) return null;
  return (
    <section className="section" aria-labelledby="others-title">
      <div className="section-head">
        <h2 id="others-title">Also asked</h2>
      </div>
      <ul className="panel rows">
        {items.map((item) => (
          <li key={item.id}>
            <button type="button" className="other" onClick={() => onChoose(item.id)}>
              <span className="truncate">{item.trouble ? item.id.slice(0, 16) : `${sayWho(item)}: ${item.machine}`}</span>
              <span className="small quiet"><State face={faceOfAccess(item)} /></span>
              <span className="small quiet">{item.asked_at && <Age at={item.asked_at} />}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
