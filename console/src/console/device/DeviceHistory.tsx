import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import { AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page } from '../../shared/ui/Page';
import { Pager } from '../../shared/ui/Table';
import { HistoryDays } from '../timeline/HistoryList';

export default function DeviceHistory() {
  const { id = '' } = useParams<{ id: string }>();
  const [search, setSearch] = useSearchParams();
  const page = Math.max(1, Number.parseInt(search.get('page') ?? '1', 10) || 1);
  const device = useQuery({ queryKey: ['device', id], queryFn: () => api.device(id) });
  const history = useQuery({
    queryKey: ['device', id, 'history', page],
    queryFn: () => api.history(id, { page, per_page: 50 }),
    placeholderData: keepPreviousData,
  });
  const name = device.data?.name ?? 'Device';
  return (
    <Page
      title={`Timeline of ${name}`}
      heading="What happened to it?"
      aside={history.data && <AsOf at={new Date(history.dataUpdatedAt).toISOString()} subject="page" label="checked" />}
      above={
        <Link href={`/devices/${id}`} className="back" title={name}>
          <Icon name="left" />
          <span className="truncate">{name}</span>
        </Link>
      }
    >
      <Answer of={history} lines={10}>
        {(list) =>
          list.total === 0 ? (
            <Empty title="Nothing has happened yet." />
          ) : (
            <>
              <HistoryDays items={list.items} of={id} />
              <Pager page={list.page} perPage={list.per_page} total={list.total} noun="entries" onPage={(to) => setSearch({ page: String(to) })} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}
