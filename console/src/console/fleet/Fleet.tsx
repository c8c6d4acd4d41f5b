import { Select } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { DeviceRow, Page as Paged, Site } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page, Panel } from '../../shared/ui/Page';
import { SearchBox } from '../../shared/ui/SearchBox';
import { Pager, Table, sayCount } from '../../shared/ui/Table';
import { DEVICE_COLUMNS } from './columns';
import { CONNECTIONS, NEEDS, PER_PAGE, STATES, isFiltered, readFilters, writeFilters, type Filters } from './filters';
import './fleet.css';

type Change = (change: Partial<Filters>) => void;

export default function Fleet() {
  const [search, setSearch] = useSearchParams();
  const filters = readFilters(search);
  const change: Change = (part) =>
    setSearch((old) => writeFilters(readFilters(old), part), { replace: !('page' in part) });
  const sites = useQuery({ queryKey: ['sites'], queryFn: api.sites });
  const devices = useQuery({
    queryKey: ['devices', filters],
    queryFn: () => api.devices({ ...filters, per_page: PER_PAGE }),
    placeholderData: keepPreviousData,
  });
  const total = sites.data?.items.reduce((sum, site) => sum + site.total, 0);
  return (
    <Page
      title="Fleet"
      heading={total === undefined || !sites.data ? 'Fleet' : sayFleet(total, sites.data.items.length)}
      aside={devices.data && <AsOf at={new Date(devices.dataUpdatedAt).toISOString()} subject="page" label="checked" />}
    >
      {sites.data && sites.data.items.length > 1 && (
        <Sites sites={sites.data.items} filters={filters} change={change} />
      )}
      <FilterBar filters={filters} change={change} />
      <Answer of={devices} lines={10}>
        {(list) => <DeviceList list={list} filters={filters} change={change} />}
      </Answer>
    </Page>
  );
}

const sayFleet = (devices: number, sites: number): string =>
  `${sayCount(devices)} ${devices === 1 ? 'device' : 'devices'} on ${sayCount(sites)} ${sites === 1 ? 'site' : 'sites'}`;

function Sites({ sites, filters, change }: { sites: Site[]; filters: Filters; change: Change }) {
  if (sites.length > 8) {
    return (
      <Select
        label="Site"
        mb={16}
        maw={320}
        searchable
        clearable
        data={sites.map((site) => site.site)}
        value={filters.site || null}
        onChange={(site) => change({ site: site ?? '' })}
      />
    );
  }
  return (
    <ul className="sites" aria-label="Sites">
      {sites.map((site) => (
        <li key={site.site}>
          <button
            type="button"
            className="site"
            aria-pressed={filters.site === site.site}
            onClick={() => change({ site: filters.site === site.site ? '' : site.site })}
          >
            <span className="truncate" title={site.site}>{site.site}</span>
            <span className="site-words">
              {saySite(site).map((part) => (
                <span key={part}>{part}</span>
              ))}
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function saySite(site: Site): string[] {
  const parts = [`${sayCount(site.total)} in all`];
  if (site.need_you > 0) parts.push(`${sayCount(site.need_you)} need you`);
  if (site.silent > 0) parts.push(`${sayCount(site.silent)} silent`);
  return parts;
}

const options = (known: readonly (readonly [string, string])[]) =>
  known.map(([value, label]) => ({ value, label }));

function FilterBar({ filters, change }: { filters: Filters; change: Change }) {
  return (
    <div className="filters" role="search">
      <SearchBox className="filter-text" label="Name, model or id" value={filters.q} onSearch={(q) => change({ q })} />
      <Select
        aria-label="State"
        placeholder="Any state"
        clearable
        data={options(STATES)}
        value={filters.state || null}
        onChange={(state) => change({ state: state ?? '' })}
      />
      <Select
        aria-label="Connection"
        placeholder="Any connection"
        clearable
        data={options(CONNECTIONS)}
        value={filters.connection || null}
        onChange={(connection) => change({ connection: connection ?? '' })}
      />
      <Select
        aria-label="Need"
        placeholder="Any need"
        clearable
        data={options(NEEDS)}
        value={filters.need || null}
        onChange={(need) => change({ need: need ?? '' })}
      />
    </div>
  );
}

function DeviceList({ list, filters, change }: { list: Paged<DeviceRow>; filters: Filters; change: Change }) {
  if (list.total === 0) {
    return isFiltered(filters) ? (
      <Empty title="No device fits these filters.">
        <Link href="/fleet">Show all devices</Link>
      </Empty>
    ) : (
      <Empty title="No devices yet.">
        <Link href="/setup">Let the first one join</Link>
      </Empty>
    );
  }
  return (
    <Panel className="devices">
      <Table
        label="Devices"
        columns={DEVICE_COLUMNS}
        rows={list.items}
        keyOf={(row) => row.id}
        sort={filters.sort || 'name'}
        onSort={(sort) => change({ sort })}
      />
      <Pager page={list.page} perPage={list.per_page} total={list.total} noun={list.total === 1 ? 'device' : 'devices'} onPage={(page) => change({ page })} />
    </Panel>
  );
}
