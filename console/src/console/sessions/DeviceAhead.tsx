import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import type { AheadRow } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { nextAhead, sayHeld, sayWindow } from './sayings';

/** In which windows somebody may enter this device without asking. It is shown, and not judged. */
export function DeviceAhead({ id }: { id: string }) {
  const ahead = useQuery({ queryKey: ['sessions', 'ahead', id], queryFn: () => api.ahead({ device_id: id, current: 'true' }) });
  const rows = ahead.data?.items ?? [];
  if (rows.length === 0) return null;
  return (
    <div className="session-ask">
      <p className="small quiet">Allowed ahead by the owner, once in each window:</p>
      <ul className="session-scopes">
        {rows.map((row) => (
          <Ahead key={row.id} row={row} device={id} />
        ))}
      </ul>
    </div>
  );
}

function Ahead({ row, device }: { row: AheadRow; device: string }) {
  const window = nextAhead(row, useNow());
  return (
    <li>
      <strong>{row.requesters.join(', ')}</strong>: {row.scopes.join(', ')}.{' '}
      {window ? `Next ${sayWindow(window)}.` : 'Its windows are over.'}{' '}
      <span className="quiet">{sayHeld(row, device)}</span>
    </li>
  );
}
