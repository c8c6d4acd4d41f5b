import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { useLocation } from 'wouter';
import { api } from '../../api/client';
import { keepSecret } from '../../api/secret';
import { CopyLine } from '../../shared/ui/Copy';
import { Failure } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { canUsePasskeys, sayPasskeyFailure, signInWithPasskey } from './passkey';
import './session.css';

const takeCode = (): string | null => new URLSearchParams(location.hash.slice(1)).get('code');

/** Where one comes in: by a one-time link, or by a passkey. There is no password. */
export function SignIn({ wanted }: { wanted: string }) {
  const [code] = useState(takeCode);
  return (
    <div className="door">
      <main className="door-inner" id="main">
        <p className="door-mark">
          <img src="/favicon.svg" alt="" width={32} height={32} />
          Fleetward
        </p>
        {code ? <ByLink code={code} wanted={wanted} /> : <ByPasskey />}
      </main>
    </div>
  );
}

function ByLink({ code, wanted }: { code: string; wanted: string }) {
  const [, go] = useLocation();
  const redeem = useMutation({
    mutationFn: () => api.redeem(code),
    onSuccess: (opened) => {
      history.replaceState(null, '', wanted);
      keepSecret(opened.token);
      go(wanted, { replace: true });
    },
  });
  const forget = (): void => {
    history.replaceState(null, '', '/');
    location.reload();
  };
  return (
    <Page
      title="Sign in"
      heading="Your link is ready"
      lead="It works once and opens 12 hours. There is no password to choose or to lose."
    >
      <Button size="lg" fullWidth autoFocus loading={redeem.isPending} disabled={redeem.isError} onClick={() => redeem.mutate()}>
        Sign in
      </Button>
      {redeem.error && (
        <div className="door-gap">
          <Failure failure={redeem.error} />
          <Button variant="subtle" mt={12} onClick={forget}>
            Other ways to sign in
          </Button>
        </div>
      )}
    </Page>
  );
}

function ByPasskey() {
  const login = useMutation({ mutationFn: signInWithPasskey });
  const able = canUsePasskeys();
  return (
    <Page title="Sign in" heading="Sign in" lead="By the passkey of this device, or by a fresh link.">
      <Button size="lg" fullWidth disabled={!able} loading={login.isPending} onClick={() => login.mutate()}>
        Sign in with a passkey
      </Button>
      {!able && <p className="small quiet door-gap">This browser offers no passkeys at this address. Use a link.</p>}
      {login.error && (
        <div className="door-gap">
          <Note tone="bad" icon="alert" live>
            {sayPasskeyFailure(login.error)}
          </Note>
        </div>
      )}
      <div className="door-gap">
        <p className="quiet small">No passkey yet? On the server’s own computer, make a link and open it here:</p>
        <div className="door-command">
          <CopyLine text="fleetward login-link --data DIR" label="the command that makes a sign-in link" />
        </div>
      </div>
    </Page>
  );
}
