import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Access } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Empty, Failure } from '../../shared/ui/Answer';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { endByPasskey } from '../passkey';
import { faceOfAccess, isLive, isWaiting, sayMinutes, sayWho } from '../sessions/sayings';

const MOST_PAST = 20;

/** Who is inside, each with a button that ends it; and who was. */
export function PhoneSessions() {
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  const [said, say] = useState('');
  return (
    <Answer of={access} lines={6} title="Sessions">
      {(list) => {
        const inside = list.items.filter(isLive);
        const past = list.items.filter((item) => !isLive(item) && !isWaiting(item)).slice(0, MOST_PAST);
        return (
          <Page
            title="Sessions"
            heading={inside.length === 0 ? 'Nobody is inside' : inside.length === 1 ? 'Somebody is inside' : `${inside.length} are inside`}
            lead="Watching and replaying need the recording key, which stays on the owner’s computer."
          >
            <div className="phone-live">
              {said !== '' && <Note tone="good" icon="check" live><strong>{said}</strong></Note>}
              {inside.map((item) => <Inside key={item.id} item={item} onSaid={say} />)}
            </div>
            {past.length > 0 && (
              <Section title="Before">
                <ul className="panel rows">
                  {past.map((item) => (
                    <li key={item.id} className="phone-past">
                      <span>{item.trouble ? item.id.slice(0, 16) : `${sayWho(item)}: ${item.machine}`}</span>
                      <span className="small quiet"><State face={faceOfAccess(item)} /> {item.ended_at && <Age at={item.ended_at} />}</span>
                    </li>
                  ))}
                </ul>
              </Section>
            )}
            {list.items.length === 0 && <Empty title="No session yet." />}
          </Page>
        );
      }}
    </Answer>
  );
}

function Inside({ item, onSaid }: { item: Access; onSaid: (words: string) => void }) {
  const client = useQueryClient();
  const stop = useMutation({
    mutationFn: () => endByPasskey('stop', item.id, ''),
    onSuccess: async (done) => {
      onSaid(done.words);
      await client.invalidateQueries({ queryKey: ['access'] });
    },
  });
  const named = item.trouble ? item.id.slice(0, 16) : `${sayWho(item)} at ${item.machine}`;
  return (
    <article className="panel panel-pad phone-inside" aria-label={named}>
      <h2>{named}</h2>
      <State face={faceOfAccess(item)} />
      {item.trouble ? (
        <Note tone="bad" icon="alert"><strong>Its papers do not stand.</strong></Note>
      ) : (
        <Facts
          facts={[
            ['Given', `${item.granted.map((scope) => scope.words).join('; ')}, ${sayMinutes(item.granted_seconds)}${item.watched ? ', watched' : ''}`],
            ['Because', item.reason],
            ['By', item.people.join(' and ') || 'nobody'],
            ['Opened', item.opened_at ? <Age key="opened" at={item.opened_at} /> : 'not yet'],
            ['Six words', <span key="words" className="six-words-small">{item.six_words}</span>],
          ]}
        />
      )}
      {stop.error && <Failure failure={stop.error} />}
      <Button size="lg" color="alarm" fullWidth loading={stop.isPending} onClick={() => stop.mutate()} aria-label={`Stop: ${named}`}>
        Stop
      </Button>
    </article>
  );
}
