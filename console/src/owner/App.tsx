import { QueryClientProvider, useQuery } from '@tanstack/react-query';
import { Route, Switch, useLocation } from 'wouter';
import { hasOwnerSecret, owner, ownerHttp } from '../api/ownerClient';
import { LiveProvider, type Peer } from '../shared/live/Live';
import { makeQueries } from '../shared/live/queries';
import { Shell, type Place } from '../shared/shell/Shell';
import { Empty } from '../shared/ui/Answer';
import { CopyLine } from '../shared/ui/Copy';
import { Mishap } from '../shared/ui/Mishap';
import { Page } from '../shared/ui/Page';
import { Banners } from './Banners';
import { BreakIns } from './BreakIns';
import { Closing } from './closing/Closing';
import { Invite } from './invite/Invite';
import { Machines } from './machines/Machines';
import { Phones } from './phones/Phones';
import { Policy } from './policy/Policy';
import { Record } from './record/Record';
import { Requests } from './requests/Requests';
import { SessionPage } from './sessions/SessionPage';
import { Sessions } from './sessions/Sessions';
import { isLive, isWaiting } from './sessions/sayings';
import { Waiting } from './waiting/Waiting';
import { Windows } from './windows/Windows';
import './owner.css';

const queries = makeQueries();

const PROGRAM: Peer = {
  who: 'The owner’s program on this computer',
  cure: 'Start it again: fleetward owner console.',
};

/** The owner's own program: it confirms, invites and checks, with keys that the server never has. */
export function App() {
  return (
    <QueryClientProvider client={queries}>
      {hasOwnerSecret() ? (
        <LiveProvider http={ownerHttp} peer={PROGRAM}>
          <OwnerPages />
        </LiveProvider>
      ) : (
        <NotOpened />
      )}
    </QueryClientProvider>
  );
}

function OwnerPages() {
  const [path] = useLocation();
  const state = useQuery({ queryKey: ['state'], queryFn: owner.state });
  const pending = useQuery({ queryKey: ['pending'], queryFn: owner.pending });
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  const phones = useQuery({ queryKey: ['phones'], queryFn: owner.phones });
  const places: Place[] = [
    { href: '/', label: 'Waiting', icon: 'person', count: pending.data?.items.length },
    { href: '/requests', label: 'Requests', icon: 'access', count: access.data?.items.filter(isWaiting).length },
    { href: '/sessions', label: 'Sessions', icon: 'wave', count: access.data?.items.filter(isLive).length },
    { href: '/windows', label: 'Windows', icon: 'clock' },
    { href: '/machines', label: 'Machines', icon: 'fleet' },
    { href: '/closing', label: 'Closing', icon: 'block' },
    { href: '/invite', label: 'Invite', icon: 'invite' },
    { href: '/policy', label: 'Policy', icon: 'policy' },
    { href: '/phones', label: 'Phones', icon: 'phone', count: phones.data?.items.filter((each) => each.offered_words).length },
    { href: '/record', label: 'Record', icon: 'proof' },
  ];
  return (
    <Shell
      title="Owner’s console"
      subtitle={state.data?.name ?? 'this computer signs'}
      places={places}
      inBar={4}
      banner={
        <>
          <BreakIns items={access.data?.items ?? []} />
          {state.data && <Banners state={state.data} />}
        </>
      }
    >
      <Mishap key={path}>
        <Switch>
          <Route path="/" component={Waiting} />
          <Route path="/requests" component={Requests} />
          <Route path="/requests/:id" component={Requests} />
          <Route path="/sessions" component={Sessions} />
          <Route path="/sessions/:id" component={SessionPage} />
          <Route path="/windows" component={Windows} />
          <Route path="/machines" component={Machines} />
          <Route path="/closing" component={Closing} />
          <Route path="/invite" component={Invite} />
          <Route path="/policy" component={Policy} />
          <Route path="/phones" component={Phones} />
          <Route path="/record" component={Record} />
          <Route component={Waiting} />
        </Switch>
      </Mishap>
    </Shell>
  );
}

function NotOpened() {
  return (
    <div className="not-opened">
      <main id="main">
        <Page title="Not opened yet" heading="Open this page from the command line" lead="It signs with the owner’s keys, so it opens only for who starts it, on this computer, and only for that start.">
          <Empty title="On the owner’s own computer:">
            <CopyLine text="fleetward owner console --owner FOLDER" label="the command that opens the owner’s console" />
          </Empty>
        </Page>
      </main>
    </div>
  );
}
