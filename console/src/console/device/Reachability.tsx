import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { Device, SocketRow } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Section } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';
import { Chip } from '../../shared/ui/State';
import { EXPOSURE } from '../../shared/words/faces';
import { SeeAll } from './SeeAll';

const PREVIEW = 6;

export function Reachability({ device, silent }: { device: Device; silent: boolean }) {
  const { reachability } = device;
  return (
    <Section title="What can reach it" aside={<AsOf at={reachability.as_of} subject="reachability" silent={silent} />}>
      <div className="panel">
        <p className="panel-pad pair-words">{hasNoPorts(device) ? (silent ? 'No open ports when it was last heard.' : 'No open ports.') : reachability.words}</p>
        {!hasNoPorts(device) && <Ports device={device} />}
      </div>
    </Section>
  );
}

/** Only full sight can say that there is nothing. */
const hasNoPorts = ({ reachability, sight }: Device): boolean =>
  sight.root === true && reachability.state === 'shown' && reachability.sockets_total === 0;

function Ports({ device }: { device: Device }) {
  const { id, reachability, sight } = device;
  const sockets = useQuery({
    queryKey: ['device', id, 'sockets', 'first'],
    queryFn: () => api.facts<SocketRow>(id, 'sockets', { per_page: PREVIEW }),
    placeholderData: keepPreviousData,
    enabled: reachability.as_of !== null,
  });
  const rows = sockets.data?.items ?? [];
  const total = sockets.data?.total ?? reachability.sockets_total;
  if (reachability.as_of === null) return null;
  return (
    <>
      {rows.length > 0 && (
        <ul className="rows ports">
          {rows.map((row) => (
            <PortLine key={`${row.proto}${row.address}${row.port}${row.executable}`} row={row} />
          ))}
        </ul>
      )}
      {rows.length === 0 && !sockets.isPending && sight.root === false && (
        <p className="pair-foot">
          None visible without root. <SeeAll />
        </p>
      )}
      {rows.length > 0 && (
        <p className="pair-foot">
          <Link href={`/devices/${id}/sockets`}>
            {total !== null && total > rows.length ? `All ${sayCount(total)} ports` : 'More about these ports'}
          </Link>
          {sight.root === false && (
            <span className="quiet">
              {' '}
              Some may not be visible without root. <SeeAll />
            </span>
          )}
        </p>
      )}
    </>
  );
}

function PortLine({ row }: { row: SocketRow }) {
  const exposure = EXPOSURE[row.exposure];
  return (
    <li className="port">
      <span className="mono number">
        {row.port}/{row.proto}
      </span>
      <span className="truncate" title={row.process ?? undefined}>
        {row.process ?? <span className="quiet">Program not visible</span>}
      </span>
      <Chip tone={exposure.tone}>{exposure.words}</Chip>
    </li>
  );
}
