import { QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useSyncExternalStore } from 'react';
import { Route, Switch, useLocation } from 'wouter';
import { http } from '../api/client';
import { readSecret, watchSecret } from '../api/secret';
import { LiveProvider, SERVER } from '../shared/live/Live';
import { makeQueries } from '../shared/live/queries';
import { Mishap } from '../shared/ui/Mishap';
import Access from './access/Access';
import Device from './device/Device';
import DeviceFacts from './device/DeviceFacts';
import DeviceHistory from './device/DeviceHistory';
import Fleet from './fleet/Fleet';
import { Frame } from './Frame';
import { Nowhere } from './Nowhere';
import Proof from './proof/Proof';
import Session from './sessions/Session';
import Sessions from './sessions/Sessions';
import { SignIn } from './session/SignIn';
import Timeline from './timeline/Timeline';
import { Today } from './today/Today';
import Tour from './tour/Tour';
import NewRecall from './updates/NewRecall';
import Recall from './updates/Recall';
import Recalls from './updates/Recalls';
import Release from './updates/Release';
import Rollout from './updates/Rollout';
import Updates from './updates/Updates';

const queries = makeQueries();

function Pages() {
  const [path] = useLocation();
  return (
    <Mishap key={path}>
      <Switch>
        <Route path="/" component={Today} />
        <Route path="/fleet" component={Fleet} />
        <Route path="/devices/:id" component={Device} />
        <Route path="/devices/:id/history" component={DeviceHistory} />
        <Route path="/devices/:id/:list" component={DeviceFacts} />
        <Route path="/sessions" component={Sessions} />
        <Route path="/sessions/:id" component={Session} />
        <Route path="/updates" component={Updates} />
        <Route path="/updates/releases/:product/:version" component={Release} />
        <Route path="/updates/rollouts/:id" component={Rollout} />
        <Route path="/updates/recalls" component={Recalls} />
        <Route path="/updates/recalls/new" component={NewRecall} />
        <Route path="/updates/recalls/:id" component={Recall} />
        <Route path="/timeline" component={Timeline} />
        <Route path="/proof" component={Proof} />
        <Route path="/setup/:step?" component={Tour} />
        <Route path="/access" component={Access} />
        <Route component={Nowhere} />
      </Switch>
    </Mishap>
  );
}

/** A sign-in link was opened: its code is in the address, whatever was signed in before. */
const codeInAddress = (): string | null => new URLSearchParams(location.hash.slice(1)).get('code');

export function App() {
  const secret = useSyncExternalStore(watchSecret, readSecret);
  const [path] = useLocation();
  useEffect(() => {
    if (secret === null) queries.clear();
  }, [secret]);
  return (
    <QueryClientProvider client={queries}>
      {secret === null || codeInAddress() ? (
        <SignIn wanted={path === '/login' ? '/' : path} />
      ) : (
        <LiveProvider http={http} peer={SERVER}>
          <Frame>
            <Pages />
          </Frame>
        </LiveProvider>
      )}
    </QueryClientProvider>
  );
}
