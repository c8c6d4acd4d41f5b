import { useQuery } from '@tanstack/react-query';
import { Link, Redirect, useParams, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { Card, Device as DeviceData } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page, Section } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { faceOfConnection, faceOfDevice, fade } from '../../shared/words/faces';
import { CardList } from '../today/CardList';
import { Containment } from './Containment';
import { Properties } from './Properties';
import { Reachability } from './Reachability';
import { RecentHistory, SinceLastVisit } from './History';
import { ProofAndFacts } from './ProofAndFacts';
import { isListName } from './lists';
import { DeviceUpdates } from '../updates/DeviceUpdates';
import { DeviceSessions } from '../sessions/DeviceSessions';
import { Software } from './Software';
import { Tiers } from './Tiers';
import { isSilent } from './silence';
import './device.css';

export default function Device() {
  const { id = '' } = useParams<{ id: string }>();
  const [search] = useSearchParams();
  const tab = search.get('tab');
  const device = useQuery({ queryKey: ['device', id], queryFn: () => api.device(id) });
  if (tab === 'timeline') return <Redirect to={`/devices/${id}/history`} replace />;
  if (tab !== null && isListName(tab)) return <Redirect to={`/devices/${id}/${tab}`} replace />;
  return <Answer of={device} lines={12} title="Device">{(data) => <DevicePage device={data} key={data.id} />}</Answer>;
}

function DevicePage({ device }: { device: DeviceData }) {
  const silent = isSilent(device);
  const cards = device.do_now.filter((card) => !isSaidAbove(card, device));
  return (
    <Page
      title={device.name}
      above={
        <Link href="/fleet" className="back">
          <Icon name="left" />
          Fleet
        </Link>
      }
      heading={<span className="device-title">{device.name}</span>}
      lead={<Who device={device} />}
      aside={<Containment device={device} />}
    >
      <Trust device={device} silent={silent} />
      {cards.length > 0 && (
        <Section title="Do now">
          <CardList cards={cards} label="Do now" onHere={goTo} />
        </Section>
      )}
      <SinceLastVisit id={device.id} />
      <div className="pair">
        <Reachability device={device} silent={silent} />
        <Software device={device} silent={silent} />
      </div>
      <Properties properties={device.properties} silent={silent} seen={device.software.as_of !== null} />
      <DeviceUpdates id={device.id} />
      <Tiers id={device.id} />
      <DeviceSessions id={device.id} />
      <RecentHistory id={device.id} />
      <ProofAndFacts device={device} silent={silent} />
    </Page>
  );
}

/** The notes under the trust sentence say these at more length. */
const isSaidAbove = (card: Card, device: DeviceData): boolean =>
  (card.kind === 'silence' && isSilent(device)) || (card.kind === 'waiting' && device.state === 'pending');

/** A card may lead to something on this very page. */
function goTo(card: Card): void {
  const place = document.getElementById(card.kind === 'containment' ? 'containment' : 'six-words');
  place?.scrollIntoView({ block: 'center' });
  place?.focus();
}

function Who({ device }: { device: DeviceData }) {
  const facts: [string, string | null][] = [
    ['Model', device.model],
    ['Site', device.site],
    ['Owner', device.owner],
    ['Maker', device.maker],
  ];
  return (
    <div className="who-line">
      <span className="who-states">
        <State face={fade(faceOfDevice(device.state, device.confirmed), isSilent(device))} />
        <State face={faceOfConnection(device.connection)} />
        <span className="small">
          last seen <Age at={device.last_seen_at} />
        </span>
        {device.simulated && <span className="simulated">simulated: made up, but by the real agent’s code</span>}
      </span>
      <dl className="who-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="truncate" title={value ?? undefined}>{value || 'not known'}</dd>
          </div>
        ))}
        <div className="who-words">
          <dt>Six words</dt>
          <dd className="six-words-small" id="six-words" tabIndex={-1}>{device.words}</dd>
        </div>
      </dl>
    </div>
  );
}

function Trust({ device, silent }: { device: DeviceData; silent: boolean }) {
  return (
    <div className="trust">
      <p>{device.trust.words}</p>
      <AsOf at={device.trust.as_of} subject="trust" silent={silent} />
      {silent && <SilentNote device={device} />}
      {!silent && device.state === 'pending' && (
        <Note tone="warn" icon="person">
          <strong>It waits for the owner.</strong>
          <p>
            Compare its six words on its own panel with the owner’s console, page Waiting, and confirm there. This
            page cannot confirm it. Until then the machine keeps what it sees to itself.
          </p>
        </Note>
      )}
      {!silent && device.software.as_of === null && device.state === 'active' && (
        <Note tone="accent" icon="clock">
          Joined. First inventory usually takes 10 s.
        </Note>
      )}
    </div>
  );
}

function SilentNote({ device }: { device: DeviceData }) {
  if (device.connection === 'never') {
    return (
      <Note tone="quiet" icon="empty">
        <strong>It has never connected.</strong>
        <p>Start its agent on the machine: <code>fleetward-agent run --data DIR</code></p>
      </Note>
    );
  }
  return (
    <Note tone="warn" icon="clock">
      <strong>
        Stale: silent, last heard <Age at={device.last_seen_at} />.
      </strong>
      <p>
        It is off, without a network, or its agent has stopped. What you see is its last word, and none of it is
        known to hold now. On the machine, look with <code>fleetward-agent status --data DIR</code> and start it
        with <code>fleetward-agent run --data DIR</code>. It sends what it kept when it is back.
      </p>
    </Note>
  );
}
