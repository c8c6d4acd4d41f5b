import { Link } from 'wouter';
import type { HistoryItem } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { parseTime, sayClock, sayDay, sayExact } from '../../shared/time/time';
import { Chip, type Tone } from '../../shared/ui/State';
import { sayEntry, sayKind } from '../../shared/words/words';
import './timeline.css';

const toneOf = ({ kind, severity }: HistoryItem): Tone =>
  severity === 'critical' ? 'bad' : /refus|lost|trunc/.test(kind) ? 'bad' : /quarantin|reduced|changed|jumped/.test(kind) ? 'warn' : 'quiet';

/** A device speaks of sessions on it; in the record the same word is somebody who signed in. */
const ofSession = (item: HistoryItem): boolean => item.source === 'machine' && item.kind.startsWith('session.');

function Line({ item, of }: { item: HistoryItem; of?: string }) {
  const at = parseTime(item.at);
  const place = [
    item.sequence === null ? null : `its own entry ${item.sequence}`,
    item.leaf === null ? null : `entry ${item.leaf}`,
  ].filter((part) => part !== null);
  return (
    <li className="moment">
      <time dateTime={item.at} title={at === null ? undefined : sayExact(at)} className="number">
        {at === null ? '' : sayClock(at)}
      </time>
      <div className="moment-words">
        <p>{sayEntry(item.kind, item.words)}</p>
        <p className="moment-meta">
          {item.device_id && item.device_id !== of && item.device_name === null && (
            <span className="truncate" title={item.device_id}>{item.device_id}</span>
          )}
          {item.device_id && item.device_id !== of && item.device_name !== null && (
            <Link href={`/devices/${item.device_id}`} className="truncate" title={item.device_name}>
              {item.device_name}
            </Link>
          )}
          <span>{item.source === 'machine' ? 'said by the machine' : 'in the record'}</span>
          {place.length > 0 && <span className="moment-place">{place.join(', ')}</span>}
        </p>
      </div>
      <Chip tone={toneOf(item)} icon={item.severity === 'critical' ? 'alert' : undefined}>
        {item.severity === 'critical' ? 'BREAK-GLASS' : ofSession(item) ? 'Session' : sayKind(item.kind)}
      </Chip>
    </li>
  );
}

const keyOf = (item: HistoryItem, at: number): string => `${item.at}/${item.sequence}/${item.leaf}/${at}`;

interface ListProps {
  items: HistoryItem[];
  /** The device whose page this is: its own name is not said again. */
  of?: string;
}

export function HistoryList({ items, of }: ListProps) {
  return (
    <ul className="panel rows">
      {items.map((item, at) => (
        <Line key={keyOf(item, at)} item={item} of={of} />
      ))}
    </ul>
  );
}

/** Entries under the day on which they happened. */
export function HistoryDays({ items, of }: ListProps) {
  const now = useNow();
  const days = new Map<string, HistoryItem[]>();
  for (const item of items) {
    const at = parseTime(item.at);
    const day = at === null ? 'Some day' : sayDay(at, now);
    days.set(day, [...(days.get(day) ?? []), item]);
  }
  return [...days].map(([day, entries]) => (
    <section key={day} className="day">
      <h2>{day}</h2>
      <HistoryList items={entries} of={of} />
    </section>
  ));
}
