import { SegmentedControl, Select } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import { AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Pager } from '../../shared/ui/Table';
import { HistoryDays } from './HistoryList';

const SINCE = [
  { value: 'day', label: '24 hours', hours: 24 },
  { value: 'week', label: '7 days', hours: 24 * 7 },
  { value: 'all', label: 'All', hours: null },
];

const KINDS = [
  { value: 'changes', label: 'Changes on devices', kind: 'posture.changed' },
  { value: 'refusals', label: 'What devices refused', kind: 'gate.refused' },
  { value: 'devices', label: 'What was done to devices', kind: 'device.' },
  { value: 'owner', label: 'What the owner signed', kind: 'document.' },
  { value: 'sessions', label: 'Who asked to enter a device', kind: 'access.' },
  { value: 'people', label: 'People added or removed', kind: 'person.' },
  { value: 'drills', label: 'Drills', kind: 'drill.' },
];

/** The start of the span, at a whole minute, so that one span is one question to the server. */
function startOf(span: string): string | null {
  const hours = SINCE.find((each) => each.value === span)?.hours ?? null;
  if (hours === null) return null;
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  return new Date(minute - hours * 3_600_000).toISOString();
}

/** What happened in the fleet: changes and deeds, no heartbeats. */
export default function Timeline() {
  const [search, setSearch] = useSearchParams();
  const span = SINCE.some((each) => each.value === search.get('span')) ? (search.get('span') ?? 'week') : 'week';
  const kind = KINDS.some((each) => each.value === search.get('kind')) ? search.get('kind') : null;
  const device = search.get('device');
  const page = Math.max(1, Number.parseInt(search.get('page') ?? '1', 10) || 1);
  const change = (part: Record<string, string | null>): void =>
    setSearch((old) => {
      const next = new URLSearchParams(old);
      next.delete('page');
      for (const [key, value] of Object.entries(part)) {
        if (value === null) next.delete(key);
        else next.set(key, value);
      }
      return next;
    });
  const timeline = useQuery({
    queryKey: ['timeline', span, kind, device, page],
    queryFn: () => api.timeline({ kind: KINDS.find((each) => each.value === kind)?.kind, device, since: startOf(span), page, per_page: 50 }),
    placeholderData: keepPreviousData,
  });
  return (
    <Page
      title="Timeline"
      heading="What happened?"
      lead="Changes and deeds. Heartbeats are not listed."
      aside={timeline.data && <AsOf at={new Date(timeline.dataUpdatedAt).toISOString()} subject="page" label="checked" />}
    >
      <div className="timeline-filters">
        <SegmentedControl
          aria-label="Span"
          value={span}
          onChange={(value) => change({ span: value })}
          data={SINCE.map(({ value, label }) => ({ value, label }))}
        />
        <Select
          aria-label="Kind"
          placeholder="Everything"
          clearable
          data={KINDS.map(({ value, label }) => ({ value, label }))}
          value={kind}
          onChange={(value) => change({ kind: value })}
        />
      </div>
      <Answer of={timeline} lines={10}>
        {(list) =>
          list.total === 0 ? (
            <Empty title="Nothing happened in this span.">
              {(kind || device) && <Link href="/timeline?span=all">Show everything</Link>}
            </Empty>
          ) : (
            <>
              <HistoryDays items={list.items} />
              <Pager page={list.page} perPage={list.per_page} total={list.total} noun="entries" onPage={(to) => change({ page: String(to) })} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}
