import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import { Answer } from '../../shared/ui/Answer';
import { Panel, Section } from '../../shared/ui/Page';
import { Table } from '../../shared/ui/Table';
import { AskCommand, AskInBrowser } from './AskCommand';
import { DeviceAhead } from './DeviceAhead';
import { sessionColumns } from './columns';
import './sessions.css';

const LAST = 3;
const COLUMNS = sessionColumns(false);

/** The last sessions on a device, and how one asks for another. */
export function DeviceSessions({ id }: { id: string }) {
  const sessions = useQuery({
    queryKey: ['sessions', 'of', id],
    queryFn: () => api.sessions({ device_id: id, per_page: LAST }),
  });
  return (
    <Section
      title="Sessions"
      aside={
        sessions.data && sessions.data.total > 0 ? (
          <Link href={`/sessions?device=${id}`} className="small">All of them</Link>
        ) : undefined
      }
    >
      <Answer of={sessions} lines={2}>
        {(list) => (
          <Panel className="sessions">
            {list.items.length === 0 ? (
              <p className="quiet small session-none">Nobody has asked to enter it.</p>
            ) : (
              <Table label="Last sessions" columns={COLUMNS} rows={list.items} keyOf={(row) => row.id} />
            )}
            <DeviceAhead id={id} />
            <div className="session-ask">
              <p className="small quiet">
                A technician asks for one from his own computer, which holds the keys; this server only carries what he
                signs. In a terminal, or with a page that his own computer serves:
              </p>
              <AskCommand device={id} />
              <AskInBrowser device={id} />
            </div>
          </Panel>
        )}
      </Answer>
    </Section>
  );
}
