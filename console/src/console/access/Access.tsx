import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import { Page } from '../../shared/ui/Page';
import { People } from './People';
import { ShownOnce, type Secret } from './ShownOnce';
import { Tokens } from './Tokens';
import './access.css';

/** Who, and which programs, may use this server. None of them can command a device. */
export default function Access() {
  const session = useQuery({ queryKey: ['session'], queryFn: api.session, staleTime: 300_000 });
  const [secret, show] = useState<Secret | null>(null);
  return (
    <Page
      title="Access"
      heading="Who may use this server?"
      lead="People sign in by links and passkeys; programs use tokens. There is no password. Whoever is let in here can look and ask, but never command a device."
    >
      {secret && <ShownOnce secret={secret} onDone={() => show(null)} />}
      <People onSecret={show} me={session.data?.person.id} />
      <Tokens onSecret={show} />
    </Page>
  );
}
