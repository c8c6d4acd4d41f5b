import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { Device, FactPage } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page, Panel } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { SearchBox } from '../../shared/ui/SearchBox';
import { Pager, Table } from '../../shared/ui/Table';
import { Nowhere } from '../Nowhere';
import { LISTS, isListName, type FactList, type ListName } from './lists';
import { SeeAll } from './SeeAll';
import { isSilent } from './silence';
import './device.css';

const PER_PAGE = 100;

/** One long list of a device; the others are one step away. */
export default function DeviceFacts() {
  const { id = '', list = '' } = useParams<{ id: string; list: string }>();
  return isListName(list) ? <FactsPage id={id} list={list} key={list} /> : <Nowhere />;
}

function FactsPage({ id, list }: { id: string; list: ListName }) {
  const [search, setSearch] = useSearchParams();
  const page = Math.max(1, Number.parseInt(search.get('page') ?? '1', 10) || 1);
  const q = search.get('q') ?? '';
  const device = useQuery({ queryKey: ['device', id], queryFn: () => api.device(id) });
  const rows = useQuery({
    queryKey: ['device', id, list, page, q],
    queryFn: () => api.facts<never>(id, list, { page, per_page: PER_PAGE, q }),
    placeholderData: keepPreviousData,
  });
  const what = LISTS[list] as unknown as FactList<never>;
  const name = device.data?.name ?? 'Device';
  const asOf = rows.data?.as_of ?? device.data?.software.as_of;
  return (
    <Page
      title={`${what.tab} of ${name}`}
      heading={what.question}
      above={
        <Link href={`/devices/${id}`} className="back" title={name}>
          <Icon name="left" />
          <span className="truncate">{name}</span>
        </Link>
      }
      aside={asOf && <AsOf at={asOf} subject="software" silent={device.data ? isSilent(device.data) : false} />}
    >
      <nav className="tabs" aria-label="Lists of this device">
        {(Object.keys(LISTS) as ListName[]).map((each) => (
          <Link key={each} href={`/devices/${id}/${each}`} aria-current={each === list ? 'page' : undefined}>
            {LISTS[each].tab}
          </Link>
        ))}
      </nav>
      <SearchBox label={`Find in ${what.noun}`} value={q} onSearch={(text) => setSearch(text ? { q: text } : {}, { replace: true })} />
      <Answer of={rows} lines={10}>
        {(data) => (
          <>
            <Sight page={data} device={device.data} />
            {data.total === 0 ? (
              <NoRows what={what} page={data} device={device.data} searched={q !== ''} />
            ) : (
              <Panel>
                <Table label={what.tab} columns={what.columns} rows={data.items} keyOf={what.keyOf} />
                <Pager page={data.page} perPage={data.per_page} total={data.total} noun={what.noun} onPage={(to) => setSearch(q ? { q, page: String(to) } : { page: String(to) })} />
              </Panel>
            )}
          </>
        )}
      </Answer>
    </Page>
  );
}

const seesAll = (page: FactPage<never>): boolean => page.sight.level === 'full';

function Sight({ page, device }: { page: FactPage<never>; device: Device | undefined }) {
  if (page.total === 0 || seesAll(page)) return null;
  return (
    <div className="sight">
      <Note tone="quiet" icon="hidden">
        {page.sight.words || 'Some of it is not visible.'} {device?.sight.root === false && <SeeAll />}
      </Note>
    </div>
  );
}

interface NoRowsProps {
  what: FactList<never>;
  page: FactPage<never>;
  device: Device | undefined;
  searched: boolean;
}

function NoRows({ what, page, device, searched }: NoRowsProps) {
  if (searched) return <div className="panel empty">Nothing here holds these letters.</div>;
  if (device?.state === 'active' && device.software.as_of === null) {
    return <div className="panel empty">Joined. First inventory usually takes 10 s.</div>;
  }
  return (
    <div className="panel empty">
      {seesAll(page) ? (
        <strong>{what.empty}</strong>
      ) : (
        <span>
          <strong>{device?.sight.root === false ? what.unseen : 'Not visible yet.'}</strong> {page.sight.words}{' '}
          {device?.sight.root === false && <SeeAll />}
        </span>
      )}
    </div>
  );
}
