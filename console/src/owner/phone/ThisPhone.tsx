import { Button, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { keepPhoneSecret, owner } from '../../api/ownerClient';
import type { ThisPhone as Me } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note } from '../../shared/ui/State';
import { canUsePasskeys, offerPasskey } from '../passkey';

/** What this phone is to the owner's computer, and the passkey that it answers by. */
export function ThisPhone() {
  const me = useQuery({ queryKey: ['phone'], queryFn: owner.phone });
  return (
    <Answer of={me} title="This phone">
      {(data) => (
        <Page title="This phone" heading={data.name} lead="It shows, and it hands over what a passkey signs. It holds no key of the owner’s.">
          <div className="panel panel-pad">
            <Facts
              facts={[
                ['Owner', data.owner],
                ['Address', location.host],
                ['Added until', <Age key="until" at={data.ends_at} />],
                ['Server', data.reachable ? 'answers' : data.words],
              ]}
            />
          </div>
          <OnPhone me={data} />
          <Section title="Leave">
            <Button variant="default" onClick={() => keepPhoneSecret(null)}>Forget this phone’s secret</Button>
            <p className="small quiet">The owner’s computer lists this phone until somebody removes it there.</p>
          </Section>
        </Page>
      )}
    </Answer>
  );
}

function OnPhone({ me }: { me: Me }) {
  const [asked, ask] = useState(false);
  return (
    <Section title="Passkeys at this address">
      {me.offered_words !== '' && (
        <div className="phone-words">
          <Note tone="accent" icon="clock" live>
            <strong>A passkey for {me.offered_person} waits to be named.</strong> Compare these words at the owner’s
            computer, page Phones, and name it there.
          </Note>
          <SixWords words={me.offered_words} />
        </div>
      )}
      {me.passkeys.length > 0 ? (
        <ul className="panel rows">
          {me.passkeys.map((each) => (
            <li key={each.key_id} className="phone-past">
              <strong>{each.person}</strong>
              <span className="mono small">{each.key_id}</span>
            </li>
          ))}
        </ul>
      ) : (
        me.offered_words === '' && <p className="quiet small">None yet. Without one this phone shows, and cannot answer.</p>
      )}
      {asked ? (
        <Make onDone={() => ask(false)} />
      ) : (
        canUsePasskeys() && (
          <div className="access-block">
            <Button size="md" fullWidth variant={me.passkeys.length > 0 || me.offered_words !== '' ? 'default' : 'filled'} onClick={() => ask(true)}>
              Make a passkey on this phone
            </Button>
          </div>
        )
      )}
      {!canUsePasskeys() && <p className="quiet small">This browser cannot use passkeys.</p>}
    </Section>
  );
}

function Make({ onDone }: { onDone: () => void }) {
  const [person, setPerson] = useState('');
  const client = useQueryClient();
  const make = useMutation({
    mutationFn: () => offerPasskey(person.trim()),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries({ queryKey: ['phone'] });
    },
  });
  return (
    <form
      className="phone-form access-block"
      onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}
    >
      <TextInput label="Whose is it" description="The name that the owner’s policy knows" size="md" required maxLength={80} value={person} onChange={(event) => setPerson(event.currentTarget.value)} />
      {make.error && <Failure failure={make.error} />}
      <Button type="submit" size="lg" fullWidth loading={make.isPending} disabled={person.trim() === ''}>
        Make it
      </Button>
      <Button variant="subtle" onClick={onDone}>Cancel</Button>
    </form>
  );
}
