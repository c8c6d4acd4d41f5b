import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { ReleaseDevice, ReleaseRow } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Panel, Section } from '../../shared/ui/Page';
import { SearchBox } from '../../shared/ui/SearchBox';
import { State } from '../../shared/ui/State';
import { Pager, Table, type Column } from '../../shared/ui/Table';
import { readPage } from './filters';
import { faceOfOutcome, faceOfPart, sayMachines } from './sayings';

const PER_PAGE = 25;

function Stand({ row }: { row: ReleaseDevice }) {
  const face = row.runs ? faceOfPart('committed') : faceOfOutcome(row.outcome);
  return (
    <span className="machine-stand">
      {face && <State face={face} />}
      {row.simulated && <span className="simulated">simulated</span>}
    </span>
  );
}

const COLUMNS: Column<ReleaseDevice>[] = [
  {
    id: 'name',
    title: 'Machine',
    width: 'minmax(0, 1.3fr)',
    cell: (row) => <Link href={`/devices/${row.device_id}`} className="truncate" title={row.name}>{row.name || row.device_id}</Link>,
  },
  { id: 'site', title: 'Site', width: 'minmax(0, 1fr)', cell: (row) => <span className="truncate" title={row.site}>{row.site}</span> },
  { id: 'state', title: 'It says', width: '200px', cell: (row) => <Stand row={row} /> },
  { id: 'why', title: 'Because', width: 'minmax(0, 1.8fr)', cell: (row) => (row.runs ? '' : <Why cause={row.cause} words={row.words} />) },
  { id: 'at', title: 'Said', width: '110px', cell: (row) => <Age at={row.said_at} /> },
];

export function Why({ cause, words }: { cause: string; words: string }) {
  if (!cause && !words) return null;
  return (
    <span className="small">
      {cause && <strong>{cause}</strong>}
      {cause && words && '. '}
      {words && `“${words}”`}
    </span>
  );
}

/** The machines that run it, and those on which it failed: by reports that they signed. */
export function ReleaseMachines({ release }: { release: ReleaseRow }) {
  const [search, setSearch] = useSearchParams();
  const page = readPage(search);
  const q = search.get('q') ?? '';
  const machines = useQuery({
    queryKey: ['updates', 'release', release.product, release.version, 'machines', page, q],
    queryFn: () => api.releaseDevices(release.product, release.version, { page, per_page: PER_PAGE, q }),
    placeholderData: keepPreviousData,
  });
  return (
    <Section title="Where it runs, and where it failed" id="machines" aside={machines.data && <span className="small quiet">{sayBoth(machines.data.runs, machines.data.failed)}</span>}>
      <Answer of={machines}>
        {(data) =>
          data.total === 0 && q === '' ? (
            <p className="quiet small">No machine has said that it runs it or tried to.</p>
          ) : (
            <>
              <SearchBox label="Name, site, id or cause" value={q} onSearch={(text) => setSearch(text ? { q: text } : {}, { replace: true })} />
              {data.total === 0 ? (
                <div className="panel empty">No machine here holds these letters.</div>
              ) : (
                <Panel>
                  <Table label="Machines of this release" columns={COLUMNS} rows={data.items} keyOf={(row) => row.device_id} />
                  <Pager page={data.page} perPage={data.per_page} total={data.total} noun={data.total === 1 ? 'machine' : 'machines'} onPage={(to) => setSearch(q ? { q, page: String(to) } : { page: String(to) })} />
                </Panel>
              )}
            </>
          )
        }
      </Answer>
    </Section>
  );
}

const sayBoth = (runs: number, failed: number): string => `runs on ${sayMachines(runs)}, failed on ${failed}, as they signed`;
