import { Button, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { keepPhoneSecret, owner, readCode } from '../../api/ownerClient';
import { Failure } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';

/** Adding this phone, by the code that the owner's computer shows. */
export function Enrol() {
  const [code, setCode] = useState(readCode);
  const [name, setName] = useState('');
  const enrol = useMutation({
    mutationFn: () => owner.enrolPhone({ code: code.trim(), name: name.trim() }),
    onSuccess: (done) => keepPhoneSecret(done.secret),
  });
  return (
    <div className="not-opened">
      <main id="main">
        <Page
          title="Add this phone"
          lead="It will show who asks to enter your machines, and who is inside. It can say yes, no and stop by a passkey, and nothing else."
        >
          <form
            className="phone-form"
            onSubmit={(event) => {
              event.preventDefault();
              enrol.mutate();
            }}
          >
            <TextInput label="A name for this phone" size="md" required maxLength={40} autoComplete="off" value={name} onChange={(event) => setName(event.currentTarget.value)} />
            <TextInput
              label="The code on the owner’s computer"
              description="It serves one phone, for ten minutes."
              size="md"
              required
              maxLength={40}
              autoComplete="off"
              autoCapitalize="characters"
              spellCheck={false}
              className="phone-code"
              value={code}
              onChange={(event) => setCode(event.currentTarget.value)}
            />
            {enrol.error && <Failure failure={enrol.error} />}
            <Button type="submit" size="lg" fullWidth loading={enrol.isPending} disabled={name.trim() === '' || code.trim() === ''}>
              Add this phone
            </Button>
          </form>
        </Page>
      </main>
    </div>
  );
}
