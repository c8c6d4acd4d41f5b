import { Button, Checkbox, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { PendingMachine, Signed } from '../../api/ownerTypes';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { Facts, Page } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Chip, Note } from '../../shared/ui/State';
import { compareWords } from '../../shared/words/words';

interface ConfirmProps {
  machine: PendingMachine;
  /** When the list of those that wait was read. */
  asOf: number;
  onDone: (signed: Signed) => void;
}

/** Six words compared, a name given, a signature made. Nothing is signed before the words agree. */
export function Confirm({ machine, asOf, onDone }: ConfirmProps) {
  const [ticked, setTicked] = useState(false);
  const [typed, setTyped] = useState('');
  const [name, setName] = useState(machine.name_suggested);
  const [site, setSite] = useState(machine.site);
  const client = useQueryClient();
  const compared = compareWords(machine.words, typed);
  const agrees = compared.differsAt === null && (ticked || compared.same);
  const confirm = useMutation({
    mutationFn: () =>
      owner.confirm({ device_id: machine.id, words: machine.words, name: name.trim(), site: site.trim() }),
    onSuccess: async (signed) => {
      onDone(signed);
      await client.invalidateQueries();
    },
  });
  return (
    <Page
      title="Waiting"
      heading="Does the machine show the same six words?"
      lead="Look at the machine’s own panel, or have somebody beside it read them to you. A message from the server is not enough."
      aside={<AsOf at={new Date(asOf).toISOString()} subject="page" label="checked" />}
    >
      <div className="panel panel-pad">
        <SixWords words={machine.words} />
        <div className="confirm-facts">
          <Facts
            facts={[
              ['It calls itself', machine.name_suggested],
              ['Model', machine.model || 'not known'],
              ['Joined', <Age key="joined" at={machine.joined_at} />],
              ['Id', <span key="id" className="mono">{machine.id}</span>],
            ]}
          />
          {machine.preapproved && <Chip tone="accent">works already: your invitation let it in unconfirmed</Chip>}
        </div>
      </div>
      <form
        className="confirm-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (agrees) confirm.mutate();
        }}
      >
        <Checkbox
          size="md"
          label="I compared them on the machine itself, and all six are the same"
          checked={ticked}
          onChange={(event) => setTicked(event.currentTarget.checked)}
        />
        <TextInput
          label="Or type them as they are read to you"
          value={typed}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          error={compared.differsAt === null ? undefined : `Word ${compared.differsAt} differs from what this machine must show.`}
          onChange={(event) => setTyped(event.currentTarget.value)}
        />
        {compared.differsAt !== null && (
          <Note tone="bad" icon="alert" live>
            <strong>Do not confirm it while a word differs.</strong>
            <p>
              Either it was misread, or this is another machine, or somebody sits between it and you. Read them again;
              if they still differ, leave it waiting and make a new invitation.
            </p>
          </Note>
        )}
        <div className="confirm-names">
          <TextInput label="Its name with you" required maxLength={80} value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <TextInput label="Its site" required maxLength={80} value={site} onChange={(event) => setSite(event.currentTarget.value)} />
        </div>
        {confirm.error && <Failure failure={confirm.error} />}
        <Button type="submit" size="md" disabled={!agrees || name.trim() === '' || site.trim() === ''} loading={confirm.isPending}>
          Confirm and sign
        </Button>
      </form>
    </Page>
  );
}
