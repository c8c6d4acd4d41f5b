import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useParams, useSearch } from 'wouter';
import { owner } from '../../api/ownerClient';
import type { Access } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { BreakGlass } from '../../shared/ui/BreakGlass';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { endByPasskey, hasPasskeyHere } from '../passkey';
import { LiveView } from './LiveView';
import { Replay } from './Replay';
import { WhatChanged } from './WhatChanged';
import { faceOfAccess, isLive, sayMinutes, sayWho, wasInside } from './sayings';
import './sessions.css';

/** One session: who, where, by whose permission, what happened; ended from here while it lasts. */
export function SessionPage() {
  const { id = '' } = useParams<{ id: string }>();
  const search = useSearch();
  const item = useQuery({ queryKey: ['access', id], queryFn: () => owner.accessOne(id) });
  return (
    <Answer of={item} lines={8} title="Session">
      {(data) => <One item={data} watchNow={new URLSearchParams(search).get('watch') === '1'} />}
    </Answer>
  );
}

function One({ item, watchNow }: { item: Access; watchNow: boolean }) {
  const back = (
    <Link href="/sessions" className="back">
      <Icon name="left" /> All sessions
    </Link>
  );
  if (item.trouble !== '') {
    return (
      <Page title="Session" heading="A session that is not believed" above={back}>
        <Note tone="bad" icon="alert">
          <strong>Its papers do not stand.</strong>
          <p><Words text={item.trouble} /></p>
        </Note>
        {isLive(item) && <div className="access-block"><Stop item={item} /></div>}
      </Page>
    );
  }
  return (
    <Page
      title="Session"
      heading={`${sayWho(item)} at ${item.machine}`}
      above={back}
      aside={isLive(item) ? <Stop item={item} /> : undefined}
      lead={
        <>
          <BreakGlass of={item} /> <State face={faceOfAccess(item)} />
        </>
      }
    >
      <div className="panel panel-pad">
        <Facts facts={factsOf(item)} />
      </div>
      <WhatChanged item={item} />
      {wasInside(item) && (
        <Section title={isLive(item) ? 'Live' : 'Replay'}>
          {isLive(item) ? <LiveView item={item} watchNow={watchNow} /> : <Replay item={item} />}
        </Section>
      )}
    </Page>
  );
}

function factsOf(item: Access): [string, React.ReactNode][] {
  const facts: [string, React.ReactNode][] = [
    ['Because', item.reason],
    ['Case', item.case || 'none'],
    ['Permission by', item.people.join(' and ') || 'nobody'],
    ['Given', item.granted.length > 0 ? `${item.granted.map((scope) => scope.words).join('; ')}, ${sayMinutes(item.granted_seconds)}${item.watched ? ', watched' : ''}` : 'nothing'],
    ['Six words', item.six_words ? <span key="words" className="six-words-small">{item.six_words}</span> : null],
    ['Opened', item.opened_at && <Age key="opened" at={item.opened_at} />],
  ];
  if (item.ended_at) {
    facts.push(['Ended', <span key="ended"><Age at={item.ended_at} />, {item.ended_by}{item.ended_who && ` (${item.ended_who})`}</span>]);
  }
  if (item.denied) facts.push(['The machine said', item.denied]);
  return facts;
}

function Stop({ item }: { item: Access }) {
  const [open, modal] = useDisclosure(false);
  return (
    <>
      <Button color="alarm" onClick={modal.open}>
        Stop…
      </Button>
      <Modal opened={open} onClose={modal.close} title="End this session now?" centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <AskStop item={item} onDone={modal.close} />
      </Modal>
    </>
  );
}

function AskStop({ item, onDone }: { item: Access; onDone: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const state = useQuery({ queryKey: ['state'], queryFn: owner.state });
  const stop = useMutation({
    mutationFn: (how: 'passkey' | 'key') =>
      how === 'passkey' ? endByPasskey('stop', item.id, reason.trim()) : owner.stop({ id: item.id, reason: reason.trim() }),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries({ queryKey: ['access'] });
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        stop.mutate('key');
      }}
    >
      <p className="small quiet">Everything that was started in it ends with it. You sign this with the owner’s key, or with a passkey.</p>
      <Textarea label="Why" mt={14} autosize minRows={1} maxRows={4} maxLength={200} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      {stop.error && <div className="form-failure"><Failure failure={stop.error} /></div>}
      <Group justify="flex-end" mt={18}>
        <Button variant="default" onClick={onDone}>Cancel</Button>
        {hasPasskeyHere(state.data) && (
          <Button type="button" variant="default" disabled={stop.isPending} onClick={() => stop.mutate('passkey')}>Stop by passkey</Button>
        )}
        <Button type="submit" color="alarm" loading={stop.isPending}>Stop and sign</Button>
      </Group>
    </form>
  );
}
