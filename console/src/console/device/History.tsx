import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import { useLastVisit } from '../../shared/live/lastVisit';
import { Age } from '../../shared/time/AsOf';
import { parseTime } from '../../shared/time/time';
import { Answer } from '../../shared/ui/Answer';
import { Section } from '../../shared/ui/Page';
import { HistoryList } from '../timeline/HistoryList';

const RECENT = 30;

const useRecent = (id: string) =>
  useQuery({
    queryKey: ['device', id, 'history', 'recent'],
    queryFn: () => api.history(id, { per_page: RECENT }),
  });

export function SinceLastVisit({ id }: { id: string }) {
  const last = useLastVisit(`device.${id}`);
  const recent = useRecent(id);
  const since = parseTime(last);
  const changes =
    since === null || !recent.data
      ? []
      : recent.data.items.filter((item) => (parseTime(item.at) ?? 0) > since);
  return (
    <Section title="Since your last visit" aside={last && <span className="asof">you looked <Age at={last} /></span>}>
      {since === null ? (
        <p className="quiet small">This is your first look at it from this browser.</p>
      ) : changes.length === 0 ? (
        <p className="quiet small">Nothing changed.</p>
      ) : (
        <HistoryList items={changes.slice(0, 6)} of={id} />
      )}
    </Section>
  );
}

export function RecentHistory({ id }: { id: string }) {
  const recent = useRecent(id);
  return (
    <Section title="Timeline" aside={<Link href={`/devices/${id}/history`} className="small">All of it</Link>}>
      <Answer of={recent}>
        {(page) =>
          page.items.length === 0 ? (
            <p className="quiet small">Nothing has happened yet.</p>
          ) : (
            <HistoryList items={page.items.slice(0, 8)} of={id} />
          )
        }
      </Answer>
    </Section>
  );
}
