import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api } from '../api/client';
import { forgetSecret } from '../api/secret';
import { Shell, type Place } from '../shared/shell/Shell';
import { Icon } from '../shared/ui/Icon';
import { PasskeyDemand, PasskeyOffer } from './session/PasskeyOffer';

const PLACES: Place[] = [
  { href: '/', label: 'Today', icon: 'today' },
  { href: '/fleet', label: 'Fleet', icon: 'fleet' },
  { href: '/sessions', label: 'Sessions', icon: 'session' },
  { href: '/updates', label: 'Updates', icon: 'download' },
  { href: '/timeline', label: 'Timeline', icon: 'timeline' },
  { href: '/proof', label: 'Proof', icon: 'proof' },
  { href: '/setup', label: 'Set-up', icon: 'setup' },
  { href: '/access', label: 'Access', icon: 'access' },
];

function SignOut({ name }: { name?: string }) {
  const leave = (): void => {
    // The request carries the secret already; it is forgotten at once, so that nothing else does.
    // Where the server is not in reach, the visit ends there by itself.
    api.signOut().catch(() => undefined);
    forgetSecret();
  };
  return (
    <button type="button" className="rail-button" onClick={leave}>
      <Icon name="out" />
      <span className="truncate">Sign out{name ? `, ${name}` : ''}</span>
    </button>
  );
}

export function Frame({ children }: { children: ReactNode }) {
  const session = useQuery({ queryKey: ['session'], queryFn: api.session, staleTime: 300_000 });
  const owing = session.data?.passkey_only === true;
  return (
    <Shell
      title="Fleetward"
      places={PLACES}
      inBar={4}
      who={<SignOut name={session.data?.person.name} />}
      banner={session.data && !owing && <PasskeyOffer session={session.data} />}
    >
      {owing ? <PasskeyDemand /> : children}
    </Shell>
  );
}
