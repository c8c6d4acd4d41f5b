import { SegmentedControl } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { AccessRow, Page as Paged } from '../../api/types';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page, Panel } from '../../shared/ui/Page';
import { Pager, Table } from '../../shared/ui/Table';
import { AskCommand } from './AskCommand';
import { sessionColumns } from './columns';
import { PER_PAGE, SHOWN, readFilters, statesOf, writeFilters, type Filters, type Shown } from './filters';
import './sessions.css';

const COLUMNS = sessionColumns(true);

/** Who asked to enter which device, and what became of it. */
export default function Sessions() {
  const [search, setSearch] = useSearchParams();
  const filters = readFilters(search);
  const change = (part: Partial<Filters>): void =>
    setSearch((old) => writeFilters(readFilters(old), part), { replace: !('page' in part) });
  const sessions = useQuery({
    queryKey: ['sessions', filters],
    queryFn: () =>
      api.sessions({ state: statesOf(filters.shown), device_id: filters.device, page: filters.page, per_page: PER_PAGE }),
    placeholderData: keepPreviousData,
  });
  return (
    <Page
      title="Sessions"
      heading="Who was inside?"
      lead="A device lets nobody in but with its owner’s permission, which it checks itself. This page shows; it can neither open a session nor look into one."
    >
      <div className="session-filters">
        <SegmentedControl
          aria-label="Which sessions"
          value={filters.shown}
          onChange={(shown) => change({ shown: shown as Shown })}
          data={SHOWN.map(([value, label]) => ({ value, label }))}
        />
        {filters.device && <Link href="/sessions" className="small">Show all devices</Link>}
      </div>
      <Answer of={sessions} lines={8}>
        {(list) => <SessionList list={list} filters={filters} change={change} />}
      </Answer>
    </Page>
  );
}

function SessionList({ list, filters, change }: { list: Paged<AccessRow>; filters: Filters; change: (part: Partial<Filters>) => void }) {
  if (list.total === 0) return <NoSessions filters={filters} />;
  return (
    <Panel className="sessions">
      <Table label="Sessions" columns={COLUMNS} rows={list.items} keyOf={(row) => row.id} />
      <Pager
        page={list.page}
        perPage={list.per_page}
        total={list.total}
        noun={list.total === 1 ? 'session' : 'sessions'}
        onPage={(page) => change({ page })}
      />
    </Panel>
  );
}

function NoSessions({ filters }: { filters: Filters }) {
  if (filters.shown !== 'all' || filters.device) {
    return (
      <Empty title="No session is like that.">
        <Link href="/sessions">Show all</Link>
      </Empty>
    );
  }
  return (
    <Empty title="Nobody has asked to enter a device yet.">
      <AskCommand />
      <p className="quiet small">
        It runs on the technician’s own computer, whose key the owner has named:{' '}
        <code>fleetward requester init</code> makes the key, <code>fleetward owner policy requester add</code> names it.
      </p>
    </Empty>
  );
}
