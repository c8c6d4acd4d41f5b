import { QueryClientProvider, useQuery } from '@tanstack/react-query';
import { useLocation } from 'wouter';
import { hasSecret, technician, technicianHttp } from '../api/technicianClient';
import type { Given, Visit } from '../api/technicianTypes';
import { LiveProvider, type Peer } from '../shared/live/Live';
import { makeQueries } from '../shared/live/queries';
import { Shell, type Place } from '../shared/shell/Shell';
import '../shared/terminal/terminal.css';
import { Answer, Empty } from '../shared/ui/Answer';
import { CopyLine } from '../shared/ui/Copy';
import { Mishap } from '../shared/ui/Mishap';
import { Page } from '../shared/ui/Page';
import { Files } from './files/Files';
import { Logs } from './logs/Logs';
import { Pages } from './pages/Pages';
import { Terminals } from './terminal/Terminals';
import { Inside } from './visit/Inside';
import { Overview } from './visit/Overview';
import './technician.css';

const queries = makeQueries();

const PROGRAM: Peer = {
  who: 'The program on this computer that holds your session',
  cure: 'If it has ended, so has the session: ask again by fleetward connect.',
};

/** The technician's own side of a session. The keys are in the program that serves this page. */
export function App() {
  return (
    <QueryClientProvider client={queries}>
      {hasSecret() ? (
        <LiveProvider http={technicianHttp} peer={PROGRAM}>
          <VisitPages />
        </LiveProvider>
      ) : (
        <NotOpened />
      )}
    </QueryClientProvider>
  );
}

const isTerminal = (scope: Given): boolean => scope.kind === 'terminal' || scope.kind === 'root';

interface Part {
  place: Place;
  given: Given[];
  show: (visit: Visit, given: Given[]) => React.ReactNode;
}

function partsOf(visit: Visit): Part[] {
  const inside = visit.phase === 'open' || visit.phase === 'over';
  const of = (fits: (scope: Given) => boolean): Given[] => (inside ? visit.given.filter(fits) : []);
  const parts: Part[] = [
    { place: { href: '/', label: 'Session', icon: 'access' }, given: [], show: (seen) => <Overview visit={seen} /> },
    { place: { href: '/terminal', label: 'Terminal', icon: 'session' }, given: of(isTerminal), show: (seen, given) => <Terminals visit={seen} given={given} /> },
    { place: { href: '/page', label: 'Web page', icon: 'fleet' }, given: of((scope) => scope.kind === 'tcp'), show: (seen, given) => <Pages visit={seen} given={given} /> },
    { place: { href: '/files', label: 'Files', icon: 'download' }, given: of((scope) => scope.kind === 'files'), show: (seen, given) => <Files visit={seen} given={given} /> },
    { place: { href: '/logs', label: 'Logs', icon: 'timeline' }, given: of((scope) => scope.kind === 'logs'), show: (seen, given) => <Logs visit={seen} given={given} /> },
  ];
  return parts.filter((part) => part.place.href === '/' || part.given.length > 0);
}

function VisitPages() {
  const [path] = useLocation();
  const visit = useQuery({ queryKey: ['visit'], queryFn: technician.visit });
  const parts = visit.data ? partsOf(visit.data) : [];
  const here = parts.find((part) => part.place.href === path) ?? parts[0];
  const terminal = parts.find((part) => part.place.href === '/terminal');
  const places = parts.map((part) => part.place);
  return (
    <Shell
      title="Technician"
      subtitle={visit.data?.machine ?? 'your own computer'}
      places={places}
      inBar={5}
      banner={visit.data && <Inside visit={visit.data} answeredAt={visit.dataUpdatedAt} />}
    >
      <Answer of={visit} lines={8} title="Session">
        {(data) => (
          <>
            {here !== terminal && <Mishap key={here?.place.href}>{here?.show(data, here.given)}</Mishap>}
            {/* A terminal goes on while another page is shown. */}
            {terminal && (
              <div hidden={here !== terminal}>
                <Mishap key="terminal">{terminal.show(data, terminal.given)}</Mishap>
              </div>
            )}
          </>
        )}
      </Answer>
    </Shell>
  );
}

function NotOpened() {
  return (
    <div className="not-opened">
      <main id="main">
        <Page title="Not opened yet" heading="Open this page from the command line" lead="It is your side of one session, so it opens only for who started it, on this computer, and only for that start.">
          <Empty title="On your own computer:">
            <CopyLine text={'fleetward connect DEVICE --terminal --browser --reason "WHY"'} label="the command that asks for a session in the browser" />
          </Empty>
        </Page>
      </main>
    </div>
  );
}
