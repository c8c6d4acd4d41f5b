import { Button, Group, PasswordInput, Stack } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { OwnerState, Recovery } from '../../api/ownerTypes';
import { useNow } from '../../shared/time/now';
import { parseTime, sayExact, sayLength } from '../../shared/time/time';
import { Failure } from '../../shared/ui/Answer';
import { Section } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';

/** What recovery keys announced, and the owner's no. Nothing when nothing waits. */
export function Recoveries({ state }: { state: OwnerState }) {
  const [asked, ask] = useState(false);
  const [done, setDone] = useState('');
  if (state.recoveries.length === 0 && done === '') return null;
  return (
    <Section title="Recovery">
      <Stack gap="md" mb="lg">
        {state.recoveries.map((each) => (
          <Announced key={each.version + each.announced_at} of={each} />
        ))}
        {done !== '' ? (
          <Note tone="good" icon="check" live>
            <strong>{done}</strong>
          </Note>
        ) : asked ? (
          <Refuse onCancel={() => ask(false)} onDone={setDone} />
        ) : (
          <Group>
            <Button color="alarm" onClick={() => ask(true)}>
              Refuse it…
            </Button>
          </Group>
        )}
      </Stack>
    </Section>
  );
}

function Announced({ of: recovery }: { of: Recovery }) {
  const now = useNow();
  const earliest = parseTime(recovery.earliest_at);
  return (
    <Note tone="bad" icon="alert">
      <strong>{recovery.people.join(' and ')} would decide over every machine.</strong> Recovery keys signed policy{' '}
      {recovery.version}.{' '}
      {earliest !== null && (
        <span title={sayExact(earliest)}>
          {earliest > now
            ? `Machines that are on all the time take it in ${sayLength(earliest - now)}, unless you refuse it.`
            : 'Machines that have waited take it now. Those that have not can still hear of your refusal.'}
        </span>
      )}
    </Note>
  );
}

function Refuse({ onCancel, onDone }: { onCancel: () => void; onDone: (words: string) => void }) {
  const [passphrase, setPassphrase] = useState('');
  const client = useQueryClient();
  const refuse = useMutation({
    mutationFn: () => owner.refuseRecovery({ passphrase }),
    onSuccess: async (signed) => {
      onDone(signed.words);
      await client.invalidateQueries();
    },
  });
  return (
    <form
      className="panel panel-pad passkey-form"
      aria-label="Refuse the recovery"
      onSubmit={(event) => {
        event.preventDefault();
        refuse.mutate();
      }}
    >
      <h3>Refuse it?</h3>
      <p className="small quiet">
        Your root key signs the next policy, which leaves everything as it is and names no recovery keys any more: theirs
        were used without your asking. Name new ones afterwards.
      </p>
      <PasswordInput label="Passphrase of the owner’s folder" required autoComplete="off" visibilityToggleButtonProps={{ 'aria-label': 'Show the passphrase' }} value={passphrase} onChange={(event) => setPassphrase(event.currentTarget.value)} />
      {refuse.error && <Failure failure={refuse.error} />}
      <Group>
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button type="submit" color="alarm" loading={refuse.isPending} disabled={passphrase === ''}>
          Refuse and sign
        </Button>
      </Group>
    </form>
  );
}
