import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import type { Tour } from '../../api/types';
import { parseTime } from '../../shared/time/time';
import { CopyLine } from '../../shared/ui/Copy';
import { Section } from '../../shared/ui/Page';
import { HistoryList } from '../timeline/HistoryList';
import { useMachine } from './useMachine';

/** How far back a change still counts as made for this step. */
const RECENT_MS = 10 * 60_000;

export function ChangeStep({ tour }: { tour: Tour }) {
  const { id } = useMachine(tour);
  const [openedAt] = useState(Date.now);
  const history = useQuery({
    queryKey: ['device', id ?? '', 'history', 'tour'],
    queryFn: () => api.history(id ?? '', { per_page: 20 }),
    enabled: id !== null,
  });
  const changes = (history.data?.items ?? []).filter(
    (item) => item.kind.startsWith('posture.changed') && (parseTime(item.at) ?? 0) > openedAt - RECENT_MS,
  );
  return (
    <>
      <p className="tour-lead">
        In a terminal of this machine, open a port. It appears here by itself, usually within 10 seconds.
      </p>
      <CopyLine text={tour.facts.open_port_command ?? 'python3 -m http.server 8023'} label="the command that opens a port" />
      <Section title="What it noticed">
        <div aria-live="polite">
          {changes.length === 0 ? (
            <p className="tour-wait panel panel-pad">
              <span className="tour-pulse" aria-hidden="true" />
              Waiting for a change on this machine
            </p>
          ) : (
            <>
              <HistoryList items={changes} of={id ?? undefined} />
              <p className="small quiet tour-after">
                {tour.facts.close_port_command ? (
                  <>Close it again: <code>{tour.facts.close_port_command}</code>. </>
                ) : (
                  <>Close it again with Ctrl+C in that terminal. </>
                )}
                The closing appears here too.
              </p>
            </>
          )}
        </div>
      </Section>
    </>
  );
}
