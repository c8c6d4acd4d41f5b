import { Button, Checkbox, Select, Textarea } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { ApiFailure } from '../../api/http';
import { owner } from '../../api/ownerClient';
import type { Access, Answered, Prepared } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { Facts, Page } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { endByPasskey, sayYes } from '../passkey';
import { Steps } from '../requests/Steps';
import { lengthsUpTo, sayMinutes, sayWho } from '../sessions/sayings';

type Done = (done: Answered) => Promise<void>;

/** What would be given; empty and 0 mean all that was asked for. */
interface Terms {
  scopes: string[];
  seconds: number;
  watched: boolean;
}

const ALL: Terms = { scopes: [], seconds: 0, watched: false };
/** The program keeps what it showed for ten minutes; a page that lies open asks anew before that. */
const ANEW_MS = 8 * 60_000;

/** One request on a phone: who, what, how long, why, six words; and two buttons at the thumb. */
export function Ask({ item, onDone }: { item: Access; onDone: Done }) {
  const [terms, setTerms] = useState(ALL);
  const [reason, setReason] = useState('');
  const ready = usePrepared(item, terms);
  const again = (): void => setTerms((old) => ({ ...old }));
  if (item.trouble !== '') {
    return (
      <Page title="Requests" heading="A request that is not believed">
        <Note tone="bad" icon="alert">
          <strong>Nothing of it is shown, and nothing can be let in by it.</strong>
          <p><Words text={item.trouble} /></p>
        </Note>
        <Thumbs item={item} prepared={null} reason={reason} onDone={onDone} onSigned={again} />
      </Page>
    );
  }
  const shown = ready.prepared;
  return (
    <Page title="Requests" heading={`${item.break_glass ? 'BREAK-GLASS: ' : ''}${sayWho(item)} asks to enter ${item.machine}`} lead={item.asked_at && <Age at={item.asked_at} />}>
      {item.break_glass && (
        <Note tone="bad" icon="alert">
          <strong>Your usual approvers are passed over.</strong>
          <p>It opens only when somebody presses at the machine.</p>
        </Note>
      )}
      <div className="panel panel-pad phone-ask">
        <ul className="phone-scopes">
          {(shown?.scopes ?? item.scopes).map((scope) => (
            <li key={scope.id}>
              {scope.words}
              {scope.run && <Steps run={scope.run} />}
            </li>
          ))}
        </ul>
        <Facts
          facts={[
            ['For', `${sayMinutes(shown?.seconds ?? item.seconds)}${(shown?.watched ?? item.must_watch) ? ', watched' : ''}`],
            ['Because', item.reason],
            ['Where', item.site || 'not said'],
          ]}
        />
        {item.sandbox !== '' && !item.sandboxed && (
          <Note tone="warn" icon="alert"><strong>No sandbox on this machine.</strong></Note>
        )}
        {(shown?.watched ?? item.must_watch) && (
          <p className="small quiet">Somebody has to watch it at the owner’s computer: phones do not watch.</p>
        )}
      </div>
      {shown && (
        <div className="phone-words">
          <p className="small quiet">The same six words appear with who asks, and on the machine.</p>
          <SixWords words={shown.six_words} />
          {item.people_needed > 1 && (
            <p className="small quiet">
              It takes {item.people_needed} people. {shown.said.length > 0 ? `${shown.said.join(' and ')} said yes already.` : 'You are the first.'}
            </p>
          )}
        </div>
      )}
      {ready.failure !== null && <div className="access-block"><Failure failure={ready.failure} /></div>}
      {item.answerable !== '' && (
        <div className="access-block">
          <Note tone="quiet" icon="clock"><Words text={item.answerable} /></Note>
          <p className="small phone-link"><Link href="/phone">This phone and its passkeys</Link></p>
        </div>
      )}
      {item.answerable === '' && <Less item={item} terms={terms} onChange={setTerms} />}
      <details className="phone-more">
        <summary>Say why, if you say no</summary>
        <Textarea aria-label="Why you say no" autosize minRows={1} maxRows={4} maxLength={200} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      </details>
      <Thumbs item={item} prepared={shown} reason={reason} onDone={onDone} onSigned={again} />
    </Page>
  );
}

function usePrepared(item: Access, terms: Terms): { prepared: Prepared | null; failure: unknown } {
  const [made, setMade] = useState<{ prepared: Prepared | null; failure: unknown }>({ prepared: null, failure: null });
  const answerable = item.trouble === '' && item.answerable === '';
  const { id } = item;
  useEffect(() => {
    if (!answerable) return;
    let over = false;
    const prepare = (): void => {
      owner.prepare({ id, ...terms }).then(
        (prepared) => !over && setMade({ prepared, failure: null }),
        (failure: unknown) => !over && setMade({ prepared: null, failure }),
      );
    };
    prepare();
    const timer = setInterval(prepare, ANEW_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [id, terms, answerable]);
  return answerable ? made : { prepared: null, failure: null };
}

function Less({ item, terms, onChange }: { item: Access; terms: Terms; onChange: (terms: Terms) => void }) {
  const given = terms.scopes.length > 0 ? terms.scopes : item.scopes.map((scope) => scope.id);
  return (
    <details className="phone-more">
      <summary>Give less</summary>
      <div className="phone-less">
        <fieldset>
          <legend className="small quiet">What you give</legend>
          {item.scopes.map((scope) => (
            <Checkbox
              key={scope.id}
              size="md"
              label={scope.words}
              checked={given.includes(scope.id)}
              disabled={given.length === 1 && given.includes(scope.id)}
              onChange={(event) => {
                const on = event.currentTarget.checked;
                onChange({ ...terms, scopes: on ? [...given, scope.id] : given.filter((id) => id !== scope.id) });
              }}
            />
          ))}
        </fieldset>
        <Select
          label="For at most"
          size="md"
          allowDeselect={false}
          data={lengthsUpTo(item.seconds)}
          value={String(terms.seconds || item.seconds)}
          onChange={(value) => onChange({ ...terms, seconds: Number(value ?? item.seconds) })}
        />
        <Checkbox
          size="md"
          label="End it when nobody watches at the owner’s computer"
          checked={terms.watched || item.must_watch}
          disabled={item.must_watch}
          onChange={(event) => onChange({ ...terms, watched: event.currentTarget.checked })}
        />
      </div>
    </details>
  );
}

const isFirstOfSeveral = (failure: unknown): boolean =>
  failure instanceof ApiFailure && failure.problem.reason === 'more_signatures_needed';

interface ThumbsProps {
  item: Access;
  prepared: Prepared | null;
  reason: string;
  onDone: Done;
  /** One of several people has said yes: what is shown of that is old. */
  onSigned: () => void;
}

function Thumbs({ item, prepared, reason, onDone, onSigned }: ThumbsProps) {
  const choice = prepared?.passkey ?? null;
  const answer = useMutation({
    mutationFn: async (what: 'yes' | 'no') => {
      if (what === 'no') return endByPasskey('deny', item.id, reason.trim());
      if (!prepared || !choice) throw new ApiFailure('refused', { status: 409, title: 'Nothing to sign', detail: 'Nothing was prepared. Open the page again.' });
      return owner.approveByPasskey(prepared.grant, await sayYes(choice));
    },
    onSuccess: onDone,
    onError: (failure) => isFirstOfSeveral(failure) && onSigned(),
  });
  const doing = (what: 'yes' | 'no') => answer.isPending && answer.variables === what;
  return (
    <div className="phone-thumbs">
      {answer.error && (
        <div className="phone-said">
          {isFirstOfSeveral(answer.error) ? (
            <Note tone="good" icon="check" live><Words text={answer.error.message} /></Note>
          ) : (
            <Failure failure={answer.error} />
          )}
        </div>
      )}
      <Button size="lg" variant="default" loading={doing('no')} disabled={answer.isPending} onClick={() => answer.mutate('no')}>
        Say no
      </Button>
      <Button size="lg" loading={doing('yes')} disabled={answer.isPending || choice === null} onClick={() => answer.mutate('yes')}>
        {item.people_needed > 1 ? 'Say yes' : 'Let in'}
      </Button>
    </div>
  );
}
