import { QueryClientProvider, useQuery } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { Route, Switch, useLocation } from 'wouter';
import { onPhoneSecret, owner, ownerHttp, readPhoneSecret } from '../../api/ownerClient';
import { LiveProvider, type Peer } from '../../shared/live/Live';
import { makeQueries } from '../../shared/live/queries';
import { Shell, type Place } from '../../shared/shell/Shell';
import { Mishap } from '../../shared/ui/Mishap';
import { isLive, isWaiting } from '../sessions/sayings';
import { Enrol } from './Enrol';
import { PhoneRequests } from './PhoneRequests';
import { PhoneSessions } from './PhoneSessions';
import { ThisPhone } from './ThisPhone';
import '../owner.css';
import './phone.css';

const queries = makeQueries();

const PROGRAM: Peer = {
  who: 'The owner’s computer',
  cure: 'It may be off, or in another network than this phone.',
};

/** The owner's console on a phone: who asks, who is inside, and a passkey's word on it. */
export function PhoneApp() {
  const known = useSyncExternalStore(onPhoneSecret, readPhoneSecret) !== null;
  return (
    <QueryClientProvider client={queries}>
      {known ? (
        <LiveProvider http={ownerHttp} peer={PROGRAM}>
          <PhonePages />
        </LiveProvider>
      ) : (
        <Enrol />
      )}
    </QueryClientProvider>
  );
}

function PhonePages() {
  const [path] = useLocation();
  const me = useQuery({ queryKey: ['phone'], queryFn: owner.phone });
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  const places: Place[] = [
    { href: '/', label: 'Requests', icon: 'access', count: access.data?.items.filter(isWaiting).length },
    { href: '/sessions', label: 'Sessions', icon: 'wave', count: access.data?.items.filter(isLive).length },
    { href: '/phone', label: 'This phone', icon: 'phone' },
  ];
  return (
    <Shell title="Owner’s console" subtitle={me.data?.owner ?? 'on a phone'} places={places} inBar={3}>
      <Mishap key={path}>
        <Switch>
          <Route path="/sessions" component={PhoneSessions} />
          <Route path="/phone" component={ThisPhone} />
          <Route component={PhoneRequests} />
        </Switch>
      </Mishap>
    </Shell>
  );
}
