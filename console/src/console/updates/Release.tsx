import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from 'wouter';
import { api } from '../../api/client';
import type { ApprovalRow, ReleaseDetail, ReleaseRow } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { Age } from '../../shared/time/AsOf';
import { parseTime, sayLength } from '../../shared/time/time';
import { Answer } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { Chip, Note, State } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { BillOfMaterials } from './BillOfMaterials';
import { approveCommand, makerCommand } from './commands';
import { readPart } from './filters';
import { readManifest, sayInstaller, type ManifestView } from './manifest';
import { NewRollout } from './NewRollout';
import { ReleaseMachines } from './ReleaseMachines';
import { faceOfApproval, faceOfRelease, faceOfRollout, faceOfSupport, needOf, sayMachines, saySize } from './sayings';
import './updates.css';

/** One release: what its maker says of it, who approved it for which machines, and where it runs. */
export default function Release() {
  const params = useParams<{ product: string; version: string }>();
  const product = readPart(params.product ?? '');
  const version = readPart(params.version ?? '');
  const release = useQuery({ queryKey: ['updates', 'release', product, version], queryFn: () => api.release(product, version) });
  return (
    <Answer of={release} lines={10} title="Release">
      {(data) => <ReleasePage detail={data} key={data.release.id} />}
    </Answer>
  );
}

function ReleasePage({ detail }: { detail: ReleaseDetail }) {
  const { release } = detail;
  const manifest = readManifest(detail.manifest);
  return (
    <Page
      title={`${release.product} ${release.version}`}
      above={
        <Link href="/updates" className="back">
          <Icon name="left" />
          Updates
        </Link>
      }
      heading={<span className="device-title">{release.product} {release.version}</span>}
      lead={<Lead release={release} />}
    >
      <Note tone="quiet" icon="empty">
        <strong>Said by its maker, and only stored here.</strong> This server does not verify it, and this page proves
        nothing. Machines verify it themselves before they install it, and so does the owner’s tool before the owner
        approves it.
      </Note>
      <Needs release={release} />
      <div className="session-grid">
        <div>
          <Said release={release} manifest={manifest} />
          <Weaknesses release={release} />
          <Parts manifest={manifest} />
        </div>
        <div>
          <Approvals approvals={detail.approvals} />
          <BillOfMaterials detail={detail} />
        </div>
      </div>
      <Rollouts release={release} />
      <RecallLinks detail={detail} />
      <ReleaseMachines release={release} />
    </Page>
  );
}

function Lead({ release }: { release: ReleaseRow }) {
  return (
    <span className="who-states">
      <State face={faceOfRelease(release)} />
      <span className="small">
        released <Age at={release.released_at} />, here <Age at={release.published_at} />
      </span>
      <span className="small">runs on {sayMachines(release.installed)}, as they signed</span>
    </span>
  );
}

/** What keeps it from machines, and where that is done: never here. */
function Needs({ release }: { release: ReleaseRow }) {
  const need = needOf(release);
  if (need === 'none') return null;
  return (
    <div className="updates-note">
      <Note tone="warn" icon="person">
        {need === 'rollout' ? (
          <>
            <strong>The owner allows it, and no machine is told of it yet.</strong>
            <p>Make a rollout below: it says which machines come first, and how many may have it before you know more.</p>
          </>
        ) : need === 'maker' ? (
          <>
            <strong>No machine takes it: the owner’s policy does not name this maker for {release.product}.</strong>
            <p>The owner names the maker in the owner’s tool. This page cannot: it never signs.</p>
            <CopyLine text={makerCommand(release.product)} label="the command that names the maker" />
          </>
        ) : (
          <>
            <strong>It waits for the owner.</strong>
            <p>
              Approval is a signature, and happens in the owner’s tool, which looks at the release as a machine does. The
              rollout below may be made before or after.
            </p>
            <CopyLine text={approveCommand(release.product, release.version)} label="the command that approves it" />
          </>
        )}
      </Note>
    </div>
  );
}

function Said({ release, manifest }: { release: ReleaseRow; manifest: ManifestView | null }) {
  const now = useNow();
  const facts: [string, React.ReactNode][] = [
    ['For', release.hardware.includes('*') ? 'Every model' : release.hardware.join(', ')],
    ['Size', `${saySize(release.size_bytes)} in all`],
    ['Counter', <span key="c" className="number">{sayCount(release.counter)}</span>],
    ['Starts again', release.reboot ? 'Yes: the machine restarts to run it' : 'No: the machine keeps running'],
    ['Support', <State key="s" face={faceOfSupport(parseTime(release.support_ends_at), now)} />],
  ];
  if (manifest?.replacesAgent) {
    facts.push(['The agent', 'It replaces the agent itself: an owner approves it by its name, and no standing approval covers it']);
  }
  if (manifest) {
    facts.push([
      'Healthy when',
      manifest.checks.length === 0 ? (
        'The machine has switched to it; the maker names no check'
      ) : (
        <span key="h">
          {manifest.checks.join('; ')}. Within {sayLength(manifest.withinSeconds * 1000)}, and then for{' '}
          {sayLength(manifest.steadySeconds * 1000)}; else the machine goes back by itself
        </span>
      ),
    ]);
    if (manifest.needs.length > 0) facts.push(['Needs', manifest.needs.join('; ')]);
    if (manifest.conflicts.length > 0) facts.push(['Not beside', manifest.conflicts.join('; ')]);
    if (manifest.leastBefore > 0) facts.push(['Comes after', `counter ${manifest.leastBefore}: older machines take one in between first`]);
  }
  facts.push(['Its hash', <span key="i" className="mono">{release.id}</span>]);
  return (
    <Section title="What the maker says">
      <div className="panel panel-pad">
        {release.notes && <p className="release-notes">{release.notes}</p>}
        <Facts facts={facts} />
      </div>
    </Section>
  );
}

function Weaknesses({ release }: { release: ReleaseRow }) {
  return (
    <Section title="Weaknesses that it removes" aside={release.fixes.length > 0 ? <span className="asof">{sayCount(release.fixes.length)}</span> : undefined}>
      {release.fixes.length === 0 ? (
        <p className="quiet small">Its maker names none.</p>
      ) : (
        <ul className="release-fixes">
          {release.fixes.map((fix) => (
            <li key={fix}>
              <Chip tone="accent">{fix}</Chip>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Parts({ manifest }: { manifest: ManifestView | null }) {
  return (
    <Section title="Parts">
      {manifest === null ? (
        <p className="quiet small">Its manifest cannot be read here.</p>
      ) : (
        <ul className="panel rows release-parts">
          {manifest.parts.map((part) => (
            <li key={part.name}>
              <p>
                <strong>{part.name}</strong>, {sayInstaller(part.installer)}, to <code>{part.place}</code>
              </p>
              <p className="small quiet number">
                {saySize(part.bytes)}
                {part.deltas > 0 && `, and ${part.deltas} smaller ${part.deltas === 1 ? 'way' : 'ways'} from releases before`}
              </p>
              <p className="small mono release-hash">{part.sha256}</p>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Approvals({ approvals }: { approvals: ApprovalRow[] }) {
  const now = useNow();
  return (
    <Section title="Who approved it, and for whom">
      {approvals.length === 0 ? (
        <p className="quiet small">No approval of it has come here.</p>
      ) : (
        <ul className="panel rows release-approvals">
          {approvals.map((each) => (
            <li key={each.id}>
              <p>
                <strong>{each.people}</strong> for {each.machines}
                {each.kind === 'standing' && `, all releases of ${each.product} ahead`}
              </p>
              {each.reason && <p className="small">“{each.reason}”</p>}
              <p className="small quiet release-terms">
                <State face={faceOfApproval(each.state)} />
                <span>
                  signed <Age at={each.issued_at} />
                  {sayUntil(each, now)}
                  {each.wait_seconds > 0 && `; each machine waits ${sayLength(each.wait_seconds * 1000)} from when it first saw it`}
                  {each.windows > 0 && `; only in ${each.windows} ${each.windows === 1 ? 'window' : 'windows'} of time`}
                </span>
              </p>
            </li>
          ))}
        </ul>
      )}
      <p className="small quiet release-foot">
        As it came here: the server has checked no signature. Machines check each, and so does{' '}
        <code>fleetward owner approvals</code>.
      </p>
    </Section>
  );
}

function sayUntil(each: ApprovalRow, now: number): string {
  const end = parseTime(each.not_after);
  if (end === null) return '';
  return end > now ? `, good for ${sayLength(end - now)} more` : `, over for ${sayLength(now - end)}`;
}

/** From a release to a recall: of it, or of those that it mends. */
function RecallLinks({ detail }: { detail: ReleaseDetail }) {
  const { release, before } = detail;
  const of = (search: Record<string, string>): string => `/updates/recalls/new?${new URLSearchParams({ product: release.product, ...search })}`;
  return (
    <Section title="Recall">
      <div className="rollout-buttons">
        {before !== '' && (
          <Button component={Link} href={of({ fix: release.version })} variant="default">
            Recall the versions before…
          </Button>
        )}
        <Button component={Link} href={of({ version: release.version })} variant="default">
          Recall this version…
        </Button>
      </div>
      <p className="quiet small release-foot">You see which machines it finds before it is opened. A recall changes no machine.</p>
    </Section>
  );
}

/** Its rollouts, and the making of one. */
function Rollouts({ release }: { release: ReleaseRow }) {
  const rollouts = useQuery({ queryKey: ['updates', 'rollouts'], queryFn: api.rollouts });
  const mine = rollouts.data?.items.filter((each) => each.release === release.id) ?? [];
  const isOpen = mine.some((each) => ['running', 'held', 'paused'].includes(each.state));
  return (
    <Section title="Roll it out" id="rollout">
      {mine.length > 0 && (
        <ul className="panel rows release-rollouts" aria-label="Rollouts of this release">
          {mine.map((each) => (
            <li key={each.id}>
              <Link href={`/updates/rollouts/${each.id}`}>To {each.selector}</Link>
              <State face={faceOfRollout(each.state)} />
              <span className="small quiet">
                {sayCount(each.exposure)} of {sayMachines(each.machines)} in, made <Age at={each.created_at} />
              </span>
            </li>
          ))}
        </ul>
      )}
      {isOpen ? (
        <p className="quiet small">A new one can be made when this one is over or cancelled.</p>
      ) : release.offerable ? (
        <NewRollout release={release} />
      ) : (
        <p className="quiet small">No machine takes it yet, so there is nothing to roll out.</p>
      )}
    </Section>
  );
}
