import { Select } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { ReleaseRow, Rollout, UpdatesOverview } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Page, Panel, Section } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { Table, sayCount, type Column } from '../../shared/ui/Table';
import { Causes } from './Causes';
import { approveCommand, makerCommand, publishCommand } from './commands';
import { ProductSection } from './ProductSection';
import { faceOfRecall } from './recall';
import { RolloutPanel } from './RolloutPanel';
import { faceOfRelease, faceOfRollout, needOf, otherFailures, sayHeadline, saySafe, sayUsed } from './sayings';
import './updates.css';

const GOALS = [7, 14, 30, 90, 180] as const;
const DEFAULT_GOAL = 30;

const readGoal = (text: string | null): number => GOALS.find((days) => String(days) === text) ?? DEFAULT_GOAL;

/** Is the fleet up to date, and is it safe to go on? */
export default function Updates() {
  const [search] = useSearchParams();
  const goal = readGoal(search.get('goal'));
  const overview = useQuery({
    queryKey: ['updates', 'overview', goal],
    queryFn: () => api.updates({ goal_days: goal }),
    placeholderData: keepPreviousData,
  });
  return <Answer of={overview} lines={10} title="Updates">{(data) => <UpdatesPage overview={data} goal={goal} />}</Answer>;
}

function UpdatesPage({ overview, goal }: { overview: UpdatesOverview; goal: number }) {
  const releases = useQuery({ queryKey: ['updates', 'releases'], queryFn: api.releases });
  const known = releases.data?.items ?? [];
  const isEmpty = overview.products.length === 0 && overview.rollouts.length === 0;
  return (
    <Page
      title="Updates"
      heading={isEmpty ? 'No updates yet.' : sayHeadline(overview)}
      lead={isEmpty ? undefined : saySafe(overview)}
      aside={<AsOf at={overview.as_of} subject="page" label="checked" />}
    >
      {isEmpty ? (
        <Nothing makers={overview.makers} />
      ) : (
        <>
          {overview.rollouts.length > 0 && (
            <Section title="What rolls out">
              <div className="rollouts">
                {overview.rollouts.map((rollout) => (
                  <RolloutPanel key={rollout.id} rollout={rollout} />
                ))}
              </div>
            </Section>
          )}
          <OpenRecalls />
          <Missing overview={overview} releases={known} />
          <Behind overview={overview} releases={known} goal={goal} />
          <Failed overview={overview} />
          <Releases of={releases} />
          <Past />
        </>
      )}
    </Page>
  );
}

/** Recalls that are open, and the way to all of them. */
function OpenRecalls() {
  const recalls = useQuery({ queryKey: ['updates', 'recalls'], queryFn: api.recalls });
  const open = recalls.data?.items.filter((each) => each.state === 'open') ?? [];
  return (
    <Section title="Recalls" aside={<Link href="/updates/recalls" className="small">{open.length > 0 ? 'All recalls' : 'Open a recall'}</Link>}>
      {open.length === 0 ? (
        <p className="quiet small">No recall is open.</p>
      ) : (
        <ul className="panel rows release-rollouts" aria-label="Open recalls">
          {open.map((each) => (
            <li key={each.id}>
              <Link href={`/updates/recalls/${each.id}`}>{each.title}</Link>
              <State face={faceOfRecall(each)} />
              <span className="small">{each.headline}</span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

/** Where nothing is yet: the first thing to do, then the next. */
function Nothing({ makers }: { makers: string[] }) {
  if (makers.length === 0) {
    return (
      <Empty title="The owner’s policy names no maker yet, so machines install nothing.">
        <p>Who makes your software gives you its root.json. The owner names it, in the owner’s tool:</p>
        <CopyLine text={makerCommand()} label="the command that names who makes a product" />
        <p className="quiet small">This page cannot do it: it never signs, and machines believe the owner alone.</p>
      </Empty>
    );
  }
  return (
    <Empty title={`The owner names who makes ${makers.slice(0, 3).join(', ')}. No release has come yet.`}>
      <p>The maker brings one here:</p>
      <CopyLine text={publishCommand(makers[0])} label="the command that publishes a release" />
    </Empty>
  );
}

/** What keeps the newest releases from machines, and who can do something about it. */
function Missing({ overview, releases }: { overview: UpdatesOverview; releases: ReleaseRow[] }) {
  const newest = overview.products
    .map((product) => releases.filter((each) => each.product === product.product).sort((one, two) => two.counter - one.counter)[0])
    .filter((release) => release !== undefined && needOf(release) !== 'none') as ReleaseRow[];
  return newest.map((release) => (
    <div className="updates-note" key={release.id}>
      <Note tone="warn" icon="person">
        {needOf(release) === 'rollout' ? (
          <>
            <strong>
              {release.product} {release.version} is approved, and no machine is told of it yet.
            </strong>
            <p>
              <Link href={`/updates/releases/${release.product}/${release.version}`}>Make a rollout</Link>: it says which machines come first, and how many may have it before you know more.
            </p>
          </>
        ) : needOf(release) === 'maker' ? (
          <>
            <strong>The owner’s policy does not name who makes {release.product}.</strong>
            <p>Its releases are stored here, and no machine takes one. The owner names the maker, in the owner’s tool:</p>
            <CopyLine text={makerCommand(release.product)} label={`the command that names who makes ${release.product}`} />
          </>
        ) : (
          <>
            <strong>
              {release.product} {release.version} waits for the owner.
            </strong>
            <p>
              Approval is a signature: it happens in the owner’s tool, never here. Then <Link href={`/updates/releases/${release.product}/${release.version}`}>a rollout</Link> brings
              it to machines, one wave after the other.
            </p>
            <CopyLine text={approveCommand(release.product, release.version)} label={`the command that approves ${release.product} ${release.version}`} />
          </>
        )}
      </Note>
    </div>
  ));
}

function Behind({ overview, releases, goal }: { overview: UpdatesOverview; releases: ReleaseRow[]; goal: number }) {
  const [, setSearch] = useSearchParams();
  const [whole, show] = useState<string[]>([]);
  return (
    <>
      <div className="updates-goal">
        <h2>Who is behind</h2>
        <Select
          label="The goal: at most"
          size="xs"
          allowDeselect={false}
          data={GOALS.map((days) => ({ value: String(days), label: `${days} days behind` }))}
          value={String(goal)}
          onChange={(value) => setSearch(value === null || value === String(DEFAULT_GOAL) ? {} : { goal: value }, { replace: true })}
        />
      </div>
      {overview.products.map((product) => (
        <ProductSection
          key={product.product}
          product={product}
          release={releases.find((each) => each.product === product.product && each.version === product.newest)}
          all={whole.includes(product.product)}
          onAll={() => show([...whole, product.product])}
        />
      ))}
    </>
  );
}

function Failed({ overview }: { overview: UpdatesOverview }) {
  const failures = otherFailures(overview);
  if (failures.length === 0) return null;
  return (
    <Section title="What failed, by cause">
      <Causes
        label="Failures of the newest attempts by cause"
        causes={failures.map((each) => ({
          cause: each.cause,
          count: each.count,
          words: '',
          what: `${each.product} ${each.version}`,
          href: `/updates/releases/${each.product}/${each.version}?q=${encodeURIComponent(each.cause)}#machines`,
        }))}
      />
    </Section>
  );
}

const COLUMNS: Column<ReleaseRow>[] = [
  { id: 'release', title: 'Release', width: 'minmax(0, 1.5fr)', cell: (row) => <Link href={`/updates/releases/${row.product}/${row.version}`}>{row.product} {row.version}</Link> },
  { id: 'state', title: 'Stands', width: 'minmax(0, 1.3fr)', cell: (row) => <State face={faceOfRelease(row)} /> },
  { id: 'installed', title: 'Runs on', width: '110px', cell: (row) => <span className="number">{sayCount(row.installed)}</span> },
  { id: 'fixes', title: 'Removes', width: '150px', cell: (row) => (row.fixes.length === 0 ? <span className="quiet">none named</span> : `${row.fixes.length} ${row.fixes.length === 1 ? 'weakness' : 'weaknesses'}`) },
  { id: 'at', title: 'Came', width: '120px', cell: (row) => <Age at={row.published_at} /> },
];
const RECENT = 8;

function Releases({ of }: { of: ReturnType<typeof useQuery<{ items: ReleaseRow[] }>> }) {
  const [whole, show] = useState(false);
  return (
    <Section title="Releases">
      <Answer of={of}>
        {({ items }) => (
          <Panel>
            <Table label="Releases" columns={COLUMNS} rows={whole ? items : items.slice(0, RECENT)} keyOf={(row) => row.id} />
            {!whole && items.length > RECENT && (
              <p className="product-more small">
                <button type="button" className="text-button small" onClick={() => show(true)}>
                  Show {sayCount(items.length - RECENT)} more
                </button>
              </p>
            )}
          </Panel>
        )}
      </Answer>
    </Section>
  );
}

const PAST: Column<Rollout>[] = [
  { id: 'release', title: 'Rollout', width: 'minmax(0, 1.2fr)', cell: (row) => <Link href={`/updates/rollouts/${row.id}`}>{row.product} {row.version}</Link> },
  { id: 'state', title: 'State', width: '130px', cell: (row) => <State face={faceOfRollout(row.state)} /> },
  { id: 'used', title: 'How far', width: 'minmax(0, 2fr)', cell: (row) => <span className="small">{sayUsed(row)}</span> },
  { id: 'at', title: 'Changed', width: '120px', cell: (row) => <Age at={row.changed_at} /> },
];
const LAST = 5;

/** Rollouts that are over. */
function Past() {
  const rollouts = useQuery({ queryKey: ['updates', 'rollouts'], queryFn: api.rollouts });
  const over = rollouts.data?.items.filter((each) => each.state === 'done' || each.state === 'cancelled') ?? [];
  if (over.length === 0) return null;
  return (
    <Section title="Rollouts that are over">
      <Panel>
        <Table label="Rollouts that are over" columns={PAST} rows={over.slice(0, LAST)} keyOf={(row) => row.id} />
      </Panel>
    </Section>
  );
}
