import { Button, Checkbox, Group, Select, Textarea } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Access, Answered, Prepared } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { Facts, Page } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { canUsePasskeys, endByPasskey, hasPasskeyHere, sayYes } from '../passkey';
import { lengthsUpTo, sayMinutes, sayWho } from '../sessions/sayings';
import { Steps } from './Steps';

/** One request: what is asked, what you give of it, and the six words of what you sign. */
export function Decide({ item, onDone }: { item: Access; onDone: (done: Answered) => void }) {
  const client = useQueryClient();
  const finish = async (done: Answered): Promise<void> => {
    onDone(done);
    await client.invalidateQueries({ queryKey: ['access'] });
  };
  if (item.trouble !== '') return <Doubted item={item} onDone={finish} />;
  return (
    <Page
      title="Requests"
      heading={`${item.break_glass ? 'BREAK-GLASS: ' : ''}${sayWho(item)} asks to enter ${item.machine}`}
      lead="This comes from the request itself, signed by the one who asks, and from the machine’s own answer. The server cannot change a word of it."
    >
      {item.break_glass && (
        <div className="access-block">
          <Note tone="bad" icon="alert">
            <strong>BREAK-GLASS: without your usual approvers.</strong> {item.people_needed} people say yes who stand in
            for them, each with a key of their own. It opens only when somebody presses at the machine within 10
            minutes. Everybody is told, and it is recorded.
          </Note>
        </div>
      )}
      <div className="panel panel-pad">
        <Facts
          facts={[
            ['Because', item.reason],
            ['Case', item.case || 'none'],
            ['Machine', `${item.machine}${item.site ? `, ${item.site}` : ''}`],
            ['For', sayMinutes(item.seconds)],
            ['Asked', item.asked_at && <Age key="asked" at={item.asked_at} />],
            ['There', item.sandbox ? `${item.sandbox}; ${item.wall}` : null],
            ['Takes', item.people_needed > 1 ? `${item.people_needed} people` : 'one person'],
          ]}
        />
        {item.sandbox !== '' && !item.sandboxed && (
          <Note tone="warn" icon="alert">
            <strong>No sandbox on this machine.</strong> What runs in the session sees what its user sees.
          </Note>
        )}
      </div>
      {item.answerable === '' ? (
        <Yes item={item} onDone={finish} />
      ) : (
        <div className="access-block">
          <Note tone="quiet" icon="clock"><Words text={item.answerable} /></Note>
        </div>
      )}
      <No item={item} onDone={finish} />
    </Page>
  );
}

function Yes({ item, onDone }: { item: Access; onDone: (done: Answered) => Promise<void> }) {
  const [given, setGiven] = useState<string[]>(item.scopes.map((scope) => scope.id));
  const [seconds, setSeconds] = useState(String(item.seconds));
  const [watched, setWatched] = useState(item.must_watch);
  const prepare = useMutation({
    mutationFn: () => owner.prepare({ id: item.id, scopes: given, seconds: Number(seconds), watched }),
  });
  const change = (act: () => void): void => {
    prepare.reset();
    act();
  };
  return (
    <form
      className="access-block access-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (given.length > 0) prepare.mutate();
      }}
    >
      <fieldset>
        <legend>What you give</legend>
        {item.scopes.map((scope) => (
          <div key={scope.id}>
            <Checkbox
              label={scope.words}
              checked={given.includes(scope.id)}
              onChange={(event) => {
                const on = event.currentTarget.checked;
                change(() => setGiven((old) => (on ? [...old, scope.id] : old.filter((id) => id !== scope.id))));
              }}
            />
            {scope.run && <Steps run={scope.run} />}
          </div>
        ))}
      </fieldset>
      <Select label="For at most" maw={220} allowDeselect={false} data={lengthsUpTo(item.seconds)} value={seconds} onChange={(value) => change(() => setSeconds(value ?? String(item.seconds)))} />
      <Checkbox
        label="End it when nobody watches"
        description={item.must_watch ? 'Your policy wants this one watched.' : 'It ends 15 seconds after the last look.'}
        checked={watched}
        disabled={item.must_watch}
        onChange={(event) => {
          const on = event.currentTarget.checked;
          change(() => setWatched(on));
        }}
      />
      {prepare.error && <Failure failure={prepare.error} />}
      {prepare.data ? (
        <Sign prepared={prepare.data} people={item.people_needed} onDone={onDone} onBack={prepare.reset} />
      ) : (
        <div>
          <Button type="submit" size="md" disabled={given.length === 0} loading={prepare.isPending}>
            See what you would sign
          </Button>
        </div>
      )}
    </form>
  );
}

function Sign({ prepared, people, onDone, onBack }: { prepared: Prepared; people: number; onDone: (done: Answered) => Promise<void>; onBack: () => void }) {
  const choice = canUsePasskeys() ? prepared.passkey : null;
  const approve = useMutation({
    mutationFn: async (how: 'passkey' | 'key') =>
      how === 'passkey' && choice ? owner.approveByPasskey(prepared.grant, await sayYes(choice)) : owner.approve(prepared.grant),
    onSuccess: onDone,
  });
  const signing = (how: 'passkey' | 'key') => approve.isPending && approve.variables === how;
  const end = people > 1 ? 'Sign for yourself' : 'Sign and let in';
  return (
    <div className="panel panel-pad access-sign">
      <h2>You would sign this, and nothing else</h2>
      <p>
        {prepared.scopes.map((scope) => scope.words).join('; ')}, for {sayMinutes(prepared.seconds)}
        {prepared.watched ? ', watched' : ''}.
      </p>
      {prepared.scopes.map((scope) => scope.run && <Steps key={scope.id} run={scope.run} />)}
      <SixWords words={prepared.six_words} />
      <p className="small quiet">
        The same six words appear with who asks, and on the machine. Ask for them over the telephone when in doubt.
      </p>
      {choice && (
        <p className="small quiet">A passkey of {choice.people.join(' or ')} signs here, for this grant alone.</p>
      )}
      {!choice && !prepared.own_key && (
        <p className="small quiet">This browser cannot use passkeys, and the key in this folder may not say yes here.</p>
      )}
      {prepared.said.length > 0 && (
        <p className="small quiet">{prepared.said.join(' and ')} said yes to this already.</p>
      )}
      {approve.error && <Failure failure={approve.error} />}
      <Group>
        {choice && (
          <Button type="button" size="md" loading={signing('passkey')} disabled={approve.isPending} onClick={() => approve.mutate('passkey')}>
            {end} by passkey
          </Button>
        )}
        {prepared.own_key && (
          <Button type="button" size="md" variant={choice ? 'default' : 'filled'} loading={signing('key')} disabled={approve.isPending} onClick={() => approve.mutate('key')}>
            {choice ? 'By the key in your folder' : end}
          </Button>
        )}
        <Button type="button" variant={choice ? 'subtle' : 'default'} onClick={onBack}>
          Back
        </Button>
      </Group>
    </div>
  );
}

function No({ item, onDone }: { item: Access; onDone: (done: Answered) => Promise<void> }) {
  const [reason, setReason] = useState('');
  const state = useQuery({ queryKey: ['state'], queryFn: owner.state });
  const deny = useMutation({
    mutationFn: (how: 'passkey' | 'key') =>
      how === 'passkey' ? endByPasskey('deny', item.id, reason.trim()) : owner.deny({ id: item.id, reason: reason.trim() }),
    onSuccess: onDone,
  });
  const saying = (how: 'passkey' | 'key') => deny.isPending && deny.variables === how;
  return (
    <form
      className="access-block access-no"
      onSubmit={(event) => {
        event.preventDefault();
        deny.mutate('key');
      }}
    >
      <Textarea label="Or say no, and why" autosize minRows={1} maxRows={4} maxLength={200} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      {deny.error && <Failure failure={deny.error} />}
      <Group>
        <Button type="submit" variant="default" loading={saying('key')} disabled={deny.isPending}>
          Say no
        </Button>
        {hasPasskeyHere(state.data) && (
          <Button type="button" variant="subtle" loading={saying('passkey')} disabled={deny.isPending} onClick={() => deny.mutate('passkey')}>
            Say no by passkey
          </Button>
        )}
      </Group>
    </form>
  );
}

function Doubted({ item, onDone }: { item: Access; onDone: (done: Answered) => Promise<void> }) {
  return (
    <Page title="Requests" heading="A request that is not believed">
      <Note tone="bad" icon="alert">
        <strong>Nothing of it is shown, and nothing can be signed for it.</strong>
        <p><Words text={item.trouble} /></p>
        <p className="small mono">{item.id}</p>
      </Note>
      <No item={item} onDone={onDone} />
    </Page>
  );
}
