import { Button, Group, PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { PhoneCode, PhoneRow, Phones as List } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { parseTime, sayExact } from '../../shared/time/time';
import { Answer, Empty, Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Page, Section } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note } from '../../shared/ui/State';
import { Squares } from './Squares';
import './phones.css';

const START = 'fleetward owner console --host NAME --certificate chain.pem --key key.pem';

/** The phones that may show requests and take a passkey's word: added, named and removed here. */
export function Phones() {
  const phones = useQuery({ queryKey: ['phones'], queryFn: owner.phones });
  return (
    <Answer of={phones} title="Phones">
      {(list) => (
        <Page
          title="Phones"
          heading={list.items.length === 0 ? 'No phone answers for you' : 'Phones that answer for you'}
          lead="A phone sees who asks and who is inside, and says yes, no and stop by a passkey. It never has a key of this folder, and opens no recording."
        >
          {list.items.length > 0 && (
            <ul className="panel rows">
              {list.items.map((each) => <One key={each.id} phone={each} />)}
            </ul>
          )}
          {list.address === '' ? (
            <Empty title="Phones are not served now.">
              <p className="quiet small">Start this program with a name of this computer and a certificate that your phones know:</p>
              <CopyLine text={START} label="the command that serves phones" />
            </Empty>
          ) : (
            <>
              <Add list={list} />
              {list.certificate_ends_at !== '' && (
                <p className="small quiet access-block">
                  Phones reach {list.address}/ until its certificate ends: {sayExact(parseTime(list.certificate_ends_at) ?? 0)}.
                </p>
              )}
            </>
          )}
        </Page>
      )}
    </Answer>
  );
}

function Add({ list }: { list: List }) {
  const make = useMutation({ mutationFn: owner.makeCode });
  const full = list.items.filter((each) => !each.over).length >= list.most;
  return (
    <Section title="Add a phone">
      <div className="panel panel-pad phones-add">
        {make.data ? (
          <Code made={make.data} />
        ) : (
          <p className="quiet small">
            {full ? `There are ${list.most} phones, which is the most. Remove one first.` : 'You are shown a code that serves one phone, for ten minutes. A code from before serves no more then.'}
          </p>
        )}
        {make.error && <Failure failure={make.error} />}
        <div>
          <Button variant={make.data ? 'default' : 'filled'} disabled={full} loading={make.isPending} onClick={() => make.mutate()}>
            {make.data ? 'Show another code' : 'Show a code'}
          </Button>
        </div>
      </div>
    </Section>
  );
}

function Code({ made }: { made: PhoneCode }) {
  return (
    <div className="phones-code">
      <Squares rows={made.squares} />
      <div>
        <p>Scan this with the phone’s camera. Or open there</p>
        <p className="mono">{made.address}/</p>
        <p>and type</p>
        <p className="mono phones-typed">{made.code}</p>
      </div>
    </div>
  );
}

function One({ phone }: { phone: PhoneRow }) {
  const client = useQueryClient();
  const [sure, setSure] = useState(false);
  const remove = useMutation({
    mutationFn: () => owner.removePhone(phone.id),
    onSuccess: () => client.invalidateQueries({ queryKey: ['phones'] }),
  });
  return (
    <li className="phones-one">
      <div className="phones-row">
        <strong>{phone.name}</strong>
        <span className="small quiet">
          {phone.over ? 'its time is over; add it anew' : <>seen <Age at={phone.seen_at} /></>}
        </span>
        <Button variant="subtle" size="compact-sm" color={sure ? 'alarm' : undefined} loading={remove.isPending} onClick={() => (sure ? remove.mutate() : setSure(true))} aria-label={`Remove ${phone.name}`}>
          {sure ? 'Remove it now' : 'Remove…'}
        </Button>
      </div>
      {remove.error && <Failure failure={remove.error} />}
      {phone.offered_words !== '' && <NameIt key={phone.offered_words} phone={phone} />}
    </li>
  );
}

/** Made anew, with an empty passphrase, when the phone offers another one meanwhile. */
function NameIt({ phone }: { phone: PhoneRow }) {
  const [person, setPerson] = useState(phone.offered_person);
  const [passphrase, setPassphrase] = useState('');
  const client = useQueryClient();
  const name = useMutation({
    mutationFn: () => owner.namePhonePasskey({ id: phone.id, words: phone.offered_words, person: person.trim(), passphrase }),
    onSuccess: () => client.invalidateQueries(),
  });
  return (
    <form
      className="passkey-form phones-name"
      aria-label={`Name the passkey of ${phone.name}`}
      onSubmit={(event) => {
        event.preventDefault();
        name.mutate();
      }}
    >
      <Note tone="accent" icon="person">
        <strong>It offers a passkey.</strong> Compare these words with those on the phone, and name it only when they are
        the same. Your root key signs a new policy then.
      </Note>
      <SixWords words={phone.offered_words} />
      <TextInput label="Whose is it" description="The name that the policy knows, where he has a key already" required maxLength={80} value={person} onChange={(event) => setPerson(event.currentTarget.value)} />
      <PasswordInput label="Passphrase of the owner’s folder" required autoComplete="off" visibilityToggleButtonProps={{ 'aria-label': 'Show the passphrase' }} value={passphrase} onChange={(event) => setPassphrase(event.currentTarget.value)} />
      {name.error && <Failure failure={name.error} />}
      <Group>
        <Button type="submit" loading={name.isPending} disabled={person.trim() === '' || passphrase === ''}>
          The words are the same: name it
        </Button>
      </Group>
    </form>
  );
}
