import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useParams } from 'wouter';
import { owner } from '../../api/ownerClient';
import type { Access, Answered } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { BreakGlass } from '../../shared/ui/BreakGlass';
import { Note, State } from '../../shared/ui/State';
import { faceOfAccess, isWaiting, sayWho } from '../sessions/sayings';
import { Decide } from './Decide';
import '../sessions/sessions.css';

/** Who asks to enter which machine, for what; one at a time, the one who waits longest first. */
export function Requests() {
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  const named = useParams<{ id?: string }>().id;
  const [chosen, choose] = useState<string | null>(named ?? null);
  const [done, setDone] = useState<Answered | null>(null);
  return (
    <Answer of={access} title="Requests">
      {(list) => {
        const waiting = list.items.filter(isWaiting).reverse();
        const ready = waiting.filter((item) => item.state === 'offered');
        const item = waiting.find((each) => each.id === chosen) ?? ready[0] ?? waiting[0];
        return (
          <>
            {done && <Said done={done} />}
            {item ? (
              <>
                <Decide key={item.id} item={item} onDone={setDone} />
                <Others items={waiting.filter((each) => each.id !== item.id)} onChoose={choose} />
              </>
            ) : (
              <Page title="Requests" heading="Nobody asks to enter">
                <Empty title="Nothing needs your answer.">
                  <p className="quiet small">
                    A request appears here by itself. What can be asked for, and by whom, stands in your policy.
                  </p>
                </Empty>
              </Page>
            )}
          </>
        );
      }}
    </Answer>
  );
}

function Said({ done }: { done: Answered }) {
  return (
    <div className="owner-done">
      <Note tone="good" icon="check" live>
        <strong>{done.words}</strong>{' '}
        {done.session !== '' && (
          <Link href={`/sessions/${done.id}${done.watched ? '?watch=1' : ''}`}>
            {done.watched ? 'Watch it now: it ends when nobody does' : 'See the session'}
          </Link>
        )}
      </Note>
    </div>
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
              <span className="small quiet"><State face={faceOfAccess(item)} /> <BreakGlass of={item} /></span>
              <span className="small quiet">{item.asked_at && <Age at={item.asked_at} />}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
