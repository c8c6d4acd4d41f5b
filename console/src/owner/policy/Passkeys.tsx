import { Button, Group, PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { OwnerKey, OwnerState } from '../../api/ownerTypes';
import { Failure } from '../../shared/ui/Answer';
import { Section } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { canUsePasskeys, isOfThisPage, makePasskey } from '../passkey';

const PASSPHRASE = 'Passphrase of the owner’s folder';

interface Held {
  person: string;
  key: OwnerKey;
}

/** Passkeys that answer for sessions: whose they are, and a new one. */
export function Passkeys({ state }: { state: OwnerState }) {
  const held: Held[] = state.policy.people.flatMap(({ person, keys }) =>
    keys.filter((key) => key.suite === 'webauthn').map((key) => ({ person, key })),
  );
  const [asked, ask] = useState<'add' | Held | null>(null);
  const close = (): void => ask(null);
  return (
    <Section
      title="Passkeys"
      aside={
        canUsePasskeys() && (
          <Button variant="default" size="xs" disabled={asked === 'add'} onClick={() => ask('add')}>
            Add a passkey…
          </Button>
        )
      }
    >
      {asked === 'add' && <Make onDone={close} />}
      {asked !== null && asked !== 'add' && <TakeOut key={asked.key.key_id} held={asked} onDone={close} />}
      {held.length > 0 ? (
        <ul className="panel rows">
          {held.map((each) => (
            <li key={each.key.key_id} className="passkey">
              <strong className="truncate" title={each.person}>{each.person}</strong>
              <span>
                <span className="mono">{each.key.key_id}</span>
                <span className="small quiet passkey-place">
                  {isOfThisPage(each.key.origins) ? 'says yes on this page' : `says yes at ${each.key.origins.join(', ')}, not on this page`}
                </span>
              </span>
              <Button variant="subtle" size="compact-sm" onClick={() => ask(each)} aria-label={`Remove the passkey of ${each.person}`}>
                Remove…
              </Button>
            </li>
          ))}
        </ul>
      ) : (
        <div className="panel panel-pad">
          <p className="quiet small">
            None yet. With a passkey somebody says yes and no to sessions, and stops them, by a finger, a face or a PIN,
            on this computer’s own page or on a phone. It signs nothing else, and counts with his other keys as one person.
          </p>
        </div>
      )}
      {!canUsePasskeys() && <p className="quiet small">This browser cannot use passkeys here. Your key in the folder signs.</p>}
    </Section>
  );
}

function Make({ onDone }: { onDone: () => void }) {
  const [person, setPerson] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const client = useQueryClient();
  const make = useMutation({
    mutationFn: () => makePasskey(person.trim(), passphrase),
    onSuccess: async () => {
      await client.invalidateQueries();
    },
  });
  if (make.data) return <Done words={make.data.words} onDone={onDone} />;
  return (
    <form
      className="panel panel-pad passkey-form"
      aria-label="Add a passkey"
      onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}
    >
      <p className="small quiet">
        It says yes and no to sessions, and stops them, at {location.origin} and nowhere else. Your root key signs a new policy that names it.
      </p>
      <TextInput label="Whose is it" description="The name that the policy knows, where he has a key already" required maxLength={80} value={person} onChange={(event) => setPerson(event.currentTarget.value)} />
      <PasswordInput label={PASSPHRASE} required autoComplete="off" visibilityToggleButtonProps={{ 'aria-label': 'Show the passphrase' }} value={passphrase} onChange={(event) => setPassphrase(event.currentTarget.value)} />
      {make.error && <Failure failure={make.error} />}
      <Group>
        <Button variant="default" onClick={onDone}>
          Cancel
        </Button>
        <Button type="submit" loading={make.isPending} disabled={person.trim() === '' || passphrase === ''}>
          Make and sign
        </Button>
      </Group>
    </form>
  );
}

function TakeOut({ held, onDone }: { held: Held; onDone: () => void }) {
  const [passphrase, setPassphrase] = useState('');
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => owner.removePasskey({ key_id: held.key.key_id, passphrase }),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries();
    },
  });
  return (
    <form
      className="panel panel-pad passkey-form"
      aria-label={`Remove the passkey of ${held.person}`}
      onSubmit={(event) => {
        event.preventDefault();
        remove.mutate();
      }}
    >
      <h3>Remove a passkey of {held.person}?</h3>
      <p className="small quiet">
        <span className="mono passkey-place">{held.key.key_id}</span>
        Machines stop counting it as soon as they hear of the new policy. Other keys of {held.person} stay.
      </p>
      <PasswordInput label={PASSPHRASE} required autoComplete="off" visibilityToggleButtonProps={{ 'aria-label': 'Show the passphrase' }} value={passphrase} onChange={(event) => setPassphrase(event.currentTarget.value)} />
      {remove.error && <Failure failure={remove.error} />}
      <Group>
        <Button variant="default" onClick={onDone}>
          Cancel
        </Button>
        <Button type="submit" color="alarm" loading={remove.isPending} disabled={passphrase === ''}>
          Remove and sign
        </Button>
      </Group>
    </form>
  );
}

function Done({ words, onDone }: { words: string; onDone: () => void }) {
  return (
    <div className="panel panel-pad passkey-form">
      <Note tone="good" icon="check" live>
        <strong>{words}</strong>
      </Note>
      <Group>
        <Button onClick={onDone}>Done</Button>
      </Group>
    </div>
  );
}
