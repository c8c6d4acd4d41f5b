import { Tooltip } from '@mantine/core';
import { Icon } from '../ui/Icon';
import { useNow } from './now';
import { isStale, parseTime, sayAge, sayExact, type Subject } from './time';

interface AgeProps {
  at: string | null | undefined;
  /** Words when it never happened. */
  never?: string;
}

/** A relative time in running text or a table; the exact one on hover. */
export function Age({ at, never = 'never' }: AgeProps) {
  const now = useNow();
  const moment = parseTime(at);
  if (moment === null) return <span className="quiet">{never}</span>;
  return (
    <time dateTime={at ?? undefined} title={sayExact(moment)} className="age">
      {sayAge(moment, now)}
    </time>
  );
}

interface AsOfProps extends AgeProps {
  subject: Subject;
  /** True where the source is known to be silent, whatever the age. */
  silent?: boolean;
  label?: string;
}

/** The age of a group of facts: quiet until it is stale, exact on hover and on focus. */
export function AsOf({ at, subject, silent = false, never = 'not seen yet', label = 'as of' }: AsOfProps) {
  const now = useNow();
  const moment = parseTime(at);
  if (moment === null) return <span className="asof">{never}</span>;
  const stale = silent || isStale(moment, now, subject);
  return (
    <Tooltip label={sayExact(moment)} events={{ hover: true, focus: true, touch: true }}>
      <time
        dateTime={at ?? undefined}
        tabIndex={0}
        className={stale ? 'asof asof-stale' : 'asof'}
        data-stale={stale || undefined}
      >
        {stale && <Icon name="clock" />}
        {stale ? 'stale, ' : ''}
        {label} {sayAge(moment, now)}
      </time>
    </Tooltip>
  );
}
