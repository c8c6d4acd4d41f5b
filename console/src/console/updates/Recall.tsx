import { Button, Checkbox, Select, TextInput } from '@mantine/core';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useLocation, useParams, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { NextStep, Recall as RecallData, RecallDetail, RecalledMachine, RolloutWish } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { useNow } from '../../shared/time/now';
import { Answer, Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Panel, Section } from '../../shared/ui/Page';
import { SearchBox } from '../../shared/ui/SearchBox';
import { Chip, Note, State } from '../../shared/ui/State';
import { Pager, Table, sayCount, type Column } from '../../shared/ui/Table';
import { safeHref } from '../../shared/words/words';
import { RecallActions } from './RecallActions';
import { RecallProgress } from './RecallProgress';
import { SHOWN, WHO, faceOfRecall, faceOfStanding, questionOf, readFilters, sayHeard, sayRuns, writeFilters, type Filters } from './recall';
import { EMPTY_FORM, readForm as readRollout } from './wish';
import './updates.css';
import './recall.css';

const PER_PAGE = 25;

/** One recall: is it over, who is open and since when silent, what to do next, and the proof. */
export default function Recall() {
  const { id = '' } = useParams<{ id: string }>();
  const [search, setSearch] = useSearchParams();
  const filters = readFilters(search);
  const recall = useQuery({
    queryKey: ['updates', 'recall', id, filters],
    queryFn: () => api.recall(id, questionOf(filters, PER_PAGE)),
    placeholderData: keepPreviousData,
  });
  const change = (part: Partial<Filters>): void =>
    setSearch((old) => writeFilters(readFilters(old), part), { replace: !('page' in part) });
  return (
    <Answer of={recall} lines={12} title="Recall">
      {(detail) => <RecallPage detail={detail} filters={filters} change={change} />}
    </Answer>
  );
}

interface PageProps {
  detail: RecallDetail;
  filters: Filters;
  change: (part: Partial<Filters>) => void;
}

function RecallPage({ detail, filters, change }: PageProps) {
  const { recall } = detail;
  return (
    <Page
      title={`Recall: ${recall.title}`}
      above={
        <Link href="/updates/recalls" className="back">
          <Icon name="left" />
          Recalls
        </Link>
      }
      heading={<span className="device-title">{recall.headline}</span>}
      lead={
        <span className="who-states">
          <State face={faceOfRecall(recall)} />
          <strong className="recall-title">{recall.title}</strong>
          <span className="small">
            opened by {recall.created_by} <Age at={recall.opened_at} />
          </span>
        </span>
      }
      aside={<AsOf at={detail.as_of} subject="page" label="checked" />}
    >
      {recall.words && (
        <div className="updates-note">
          <Note tone="quiet" icon="policy">
            <strong>{recall.state === 'cancelled' ? 'Cancelled' : 'Closed'}.</strong> “{recall.words}”
          </Note>
        </div>
      )}
      <div className="panel rollout">
        <RecallProgress recall={recall} history={detail.history} />
        <RecallActions recall={recall} />
      </div>
      <Steps recall={recall} steps={detail.steps} />
      <Machines detail={detail} filters={filters} change={change} />
      <div className="session-grid">
        <div>
          <Asked recall={recall} />
          <Take recall={recall} />
        </div>
        <div>
          <Told detail={detail} />
          <Deeds detail={detail} />
        </div>
      </div>
    </Page>
  );
}

function Steps({ recall, steps }: { recall: RecallData; steps: NextStep[] }) {
  if (steps.length === 0) return null;
  return (
    <Section title="What to do next">
      <ol className="panel rows recall-steps">
        {steps.map((step) => (
          <li key={`${step.who}${step.words}`}>
            <p>
              <strong>{WHO[step.who]}.</strong> {step.words}
            </p>
            {step.href.endsWith('#rollout') && <RollOut recall={recall} />}
            {step.command && <CopyLine text={step.command} label={`the command for: ${WHO[step.who]}`} />}
            {safeHref(step.href) && (
              <p className="small">
                <Link href={safeHref(step.href) ?? '/'}>{sayLink(step.href)}</Link>
              </p>
            )}
          </li>
        ))}
      </ol>
    </Section>
  );
}

/** The careful rollout of what mends it, in one click; how far it can reach is said first. */
function RollOut({ recall }: { recall: RecallData }) {
  const wish = readRollout(recall.product, recall.fix_version, EMPTY_FORM);
  const forecast = useQuery({
    queryKey: ['updates', 'forecast', wish],
    queryFn: () => api.forecastRollout(wish as RolloutWish),
    enabled: wish !== null,
  });
  const [, go] = useLocation();
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: (ready: RolloutWish) => api.createRollout(ready),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['updates'] });
      go(`/updates/rollouts/${made.id}`);
    },
  });
  if (wish === null || !forecast.data || forecast.data.machines === 0) return null;
  return (
    <>
      <p className="small">In four waves, with a day of quiet after each. {forecast.data.promise_words}</p>
      <div>
        <Button size="xs" loading={create.isPending} onClick={() => create.mutate(wish)}>
          Roll {recall.product} {recall.fix_version} out in waves
        </Button>
      </div>
      {create.error && <Failure failure={create.error} />}
    </>
  );
}

function sayLink(href: string): string {
  if (href.endsWith('#rollout')) return 'Choose machines, canaries and pace';
  if (href.endsWith('#machines')) return 'See where it failed';
  return href.startsWith('/updates/rollouts/') ? 'Look at the rollout' : 'See the release';
}

const sayProof = (row: RecalledMachine) => (
  <span className="small recall-said">
    {row.proof && <span>{row.proof}</span>}
    {row.note && (
      <span>
        {row.note_by} says: “{row.note}” <span className="quiet">No proof.</span>
      </span>
    )}
    {!row.proof && !row.note && <span className="quiet">Nothing yet</span>}
  </span>
);

function useColumns(chosen: string[], choose: (device: string) => void, isOpen: boolean): Column<RecalledMachine>[] {
  const now = useNow();
  return [
    {
      id: 'name',
      title: 'Machine',
      width: 'minmax(0, 1.3fr)',
      cell: (row) => (
        <span className="recall-machine">
          {isOpen && row.done_at === null && (
            <Checkbox size="xs" aria-label={`Choose ${row.name || row.device_id}`} checked={chosen.includes(row.device_id)} onChange={() => choose(row.device_id)} />
          )}
          <span>
            <Link href={`/devices/${row.device_id}`} className="recall-title">{row.name || row.device_id}</Link>
            <span className="small quiet mono recall-serial" title={row.device_id}>{row.device_id.slice(0, 12)}…</span>
          </span>
        </span>
      ),
    },
    { id: 'where', title: 'Site, model', width: 'minmax(0, 1fr)', cell: (row) => <span className="recall-title">{[row.site || 'No site', row.model].filter((each) => each !== '').join(', ')}</span> },
    {
      id: 'state',
      title: 'Stands',
      width: '130px',
      cell: (row) => (
        <span className="machine-stand">
          <State face={faceOfStanding(row.standing)} />
          {row.quarantined && <Chip tone="warn" icon="block">Quarantine</Chip>}
          {row.simulated && <span className="simulated">simulated</span>}
        </span>
      ),
    },
    { id: 'runs', title: 'Runs, as it signed', width: 'minmax(0, 1fr)', cell: (row) => <span>{sayRuns(row)}{row.said_at && <span className="small quiet recall-serial">said <Age at={row.said_at} /></span>}</span> },
    { id: 'heard', title: 'Heard', width: 'minmax(0, 0.9fr)', cell: (row) => <span className={row.connected ? 'small' : 'small tone-warn recall-silent'}>{sayHeard(row, now)}</span> },
    { id: 'proof', title: 'Proof', width: 'minmax(0, 1.4fr)', cell: sayProof },
  ];
}

function Machines({ detail, filters, change }: PageProps) {
  const { recall } = detail;
  const [chosen, setChosen] = useState<string[]>([]);
  const choose = (device: string): void => setChosen((old) => (old.includes(device) ? old.filter((each) => each !== device) : [...old, device]));
  const columns = useColumns(chosen, choose, recall.state !== 'cancelled');
  return (
    <Section title="Machines" aside={<span className="small quiet">the affected first, of each the longest silent on top</span>}>
      {recall.tally.found === 0 ? (
        <p className="quiet small">It found none. Whoever joins later is looked at too.</p>
      ) : (
        <>
          <div className="updates-filters" role="search">
            <SearchBox label="Name, site, model or id" value={filters.q} onSearch={(q) => change({ q })} className="filter-text" />
            <Select
              aria-label="Which machines"
              placeholder={`All ${sayCount(recall.tally.found)} that it found`}
              clearable
              data={SHOWN.map(({ id, label }) => ({ value: id, label }))}
              value={filters.shown === 'all' ? null : filters.shown}
              onChange={(value) => change({ shown: (value ?? 'all') as Filters['shown'] })}
            />
          </div>
          {chosen.length > 0 && <NoteForm recall={recall} chosen={chosen} onDone={() => setChosen([])} />}
          {detail.total === 0 ? (
            <div className="panel empty">No machine of this recall is like that.</div>
          ) : (
            <Panel>
              <Table label="Machines of this recall" columns={columns} rows={detail.items} keyOf={(row) => row.device_id} />
              <Pager page={detail.page} perPage={detail.per_page} total={detail.total} noun={detail.total === 1 ? 'machine' : 'machines'} onPage={(page) => change({ page })} />
            </Panel>
          )}
        </>
      )}
    </Section>
  );
}

const MAX_NOTE = 500;

/** What somebody says of machines: shown beside them, and never a proof. */
function NoteForm({ recall, chosen, onDone }: { recall: RecallData; chosen: string[]; onDone: () => void }) {
  const [words, setWords] = useState('');
  const client = useQueryClient();
  const note = useMutation({
    mutationFn: () => api.noteRecalled(recall.id, chosen, words.trim()),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries({ queryKey: ['updates'] });
    },
  });
  return (
    <form
      className="panel panel-pad recall-note"
      aria-label="What is said of these machines"
      onSubmit={(event) => {
        event.preventDefault();
        if (words.trim() !== '') note.mutate();
      }}
    >
      <TextInput
        label={`What do you know of ${chosen.length === 1 ? 'this machine' : `these ${chosen.length} machines`}?`}
        description="It stands beside them with your name. It proves nothing, and none of them is done by it."
        maxLength={MAX_NOTE}
        value={words}
        onChange={(event) => setWords(event.currentTarget.value)}
      />
      <Button type="submit" variant="default" loading={note.isPending} disabled={words.trim() === ''}>
        Write it down
      </Button>
      {note.error && <Failure failure={note.error} />}
    </form>
  );
}

function Asked({ recall }: { recall: RecallData }) {
  const facts: [string, React.ReactNode][] = [
    ['Of', <span key="o" className="recall-title">{recall.about}</span>],
    ['For', recall.machines],
    ['What to do', recall.remedy_words],
    ['Until', recall.until ? recall.until.slice(0, 10) : 'No day was named'],
    ['Known as', recall.advisories.length > 0 ? recall.advisories.join(', ') : 'No advisory was named'],
    ['Answers for it', recall.acknowledged_at ? <span key="a">{recall.acknowledged_by}, <Age at={recall.acknowledged_at} />{recall.acknowledged_words && `: “${recall.acknowledged_words}”`}</span> : 'Nobody yet'],
    ['Its id', <span key="id" className="mono">{recall.id}</span>],
  ];
  return (
    <Section title="Why, and what was asked for">
      <div className="panel panel-pad">
        <p className="release-notes">{recall.why}</p>
        <Facts facts={facts} />
      </div>
    </Section>
  );
}

function Take({ recall }: { recall: RecallData }) {
  const take = useMutation({
    mutationFn: async (name: 'proof' | 'machines.csv') => {
      const file = URL.createObjectURL(await api.recallFile(recall.id, name));
      const link = document.createElement('a');
      link.href = file;
      link.download = `recall-${recall.id.slice(0, 12)}${name === 'proof' ? '.json' : '.csv'}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(file), 60_000);
    },
  });
  return (
    <Section title="Take the proof along">
      <div className="panel panel-pad recall-take">
        <div className="rollout-buttons">
          <Button leftSection={<Icon name="download" />} loading={take.isPending} onClick={() => take.mutate('proof')}>
            The proof
          </Button>
          <Button variant="default" leftSection={<Icon name="download" />} onClick={() => take.mutate('machines.csv')}>
            A table
          </Button>
        </div>
        {take.error && <Failure failure={take.error} />}
        <p className="small">
          The proof is this server’s word, until it is compared with your own copy of the record. That needs no server:
        </p>
        <CopyLine text={`fleetward recall verify recall-${recall.id.slice(0, 12)}.json --record record --root OWNER_ROOT`} label="the command that checks the proof" />
        <p className="small quiet">A machine that was left out, or counted as done without its signed word, is named there.</p>
      </div>
    </Section>
  );
}

const TOLD = 8;

function Told({ detail }: { detail: RecallDetail }) {
  return (
    <Section title="Who was told">
      {detail.notices.length === 0 ? (
        <p className="quiet small">
          Nobody. Who is told stands in <code>notices.toml</code>; <code>fleetward notices show</code> says whether there is one.
        </p>
      ) : (
        <ul className="panel rows updates-deeds" aria-label="Who was told">
          {detail.notices.slice(0, TOLD).map((each) => (
            <li key={`${each.at}${each.name}`}>
              <span className="recall-title">{each.good ? `${each.name}, by ${each.channel}` : `${each.name} could not be told by ${each.channel}`}</span>
              <span className="small quiet">
                <Age at={each.at} />
              </span>
            </li>
          ))}
        </ul>
      )}
      {detail.notices.length > TOLD && <p className="quiet small">And {sayCount(detail.notices.length - TOLD)} before.</p>}
    </Section>
  );
}

function Deeds({ detail }: { detail: RecallDetail }) {
  return (
    <Section title="What people did" aside={<Link href="/timeline" className="small">Timeline</Link>}>
      <ol className="panel rows updates-deeds">
        {detail.deeds.map((deed) => (
          <li key={`${deed.at}${deed.kind}`}>
            <span className="recall-title">{deed.words}</span>
            <span className="small quiet">
              {deed.who}, <Age at={deed.at} />
            </span>
          </li>
        ))}
      </ol>
    </Section>
  );
}
