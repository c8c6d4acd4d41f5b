import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { Session } from '../../api/types';
import { Icon } from '../../shared/ui/Icon';
import { Page } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { canUsePasskeys, registerPasskey, sayPasskeyFailure } from './passkey';
import './session.css';

const LATER = 'fleetward.passkey.later';

function useRegister() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: registerPasskey,
    onSuccess: () => client.invalidateQueries(),
  });
}

/** Offered once after a sign-in by link; it may wait where the server says that it may. */
export function PasskeyOffer({ session }: { session: Session }) {
  const [later, setLater] = useState(() => localStorage.getItem(LATER) === 'yes');
  const register = useRegister();
  if (session.passkey.registered || later || !canUsePasskeys()) return null;
  const wait = (): void => {
    localStorage.setItem(LATER, 'yes');
    setLater(true);
  };
  return (
    <div className="strip strip-offer tone-accent">
      <Icon name="access" />
      <p role={register.error ? 'alert' : undefined}>
        {register.error
          ? sayPasskeyFailure(register.error)
          : 'Next time, sign in with a passkey: one touch, nothing to remember.'}
      </p>
      <Button size="xs" loading={register.isPending} onClick={() => register.mutate()}>
        Make a passkey
      </Button>
      {!session.passkey.required && (
        <Button size="xs" variant="subtle" onClick={wait}>
          Later
        </Button>
      )}
    </div>
  );
}

/** Where the server is reached from elsewhere, nothing opens before there is a passkey. */
export function PasskeyDemand() {
  const register = useRegister();
  return (
    <Page
      title="One more step"
      heading="Make a passkey to go on"
      lead="This server is reached from other computers, so a link alone does not open it. The passkey stays on your device."
    >
      <Button size="md" loading={register.isPending} onClick={() => register.mutate()}>
        Make a passkey
      </Button>
      {register.error && (
        <div className="door-gap">
          <Note tone="bad" icon="alert" live>
            {sayPasskeyFailure(register.error)}
          </Note>
        </div>
      )}
    </Page>
  );
}
