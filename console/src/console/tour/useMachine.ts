import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import type { Device, Tour } from '../../api/types';

/** The machine of the tour: the one that it names, else the first that is not simulated. */
export function useMachine(tour: Tour) {
  const named = tour.facts?.device_id ?? null;
  const found = useQuery({
    queryKey: ['devices', 'first-real'],
    queryFn: () => api.devices({ per_page: 50, sort: 'name' }),
    enabled: named === null,
    select: (list) => list.items.find((row) => !row.simulated)?.id ?? null,
  });
  const id = named ?? found.data ?? null;
  const device = useQuery<Device>({
    queryKey: ['device', id ?? ''],
    queryFn: () => api.device(id ?? ''),
    enabled: id !== null,
  });
  return { id, device, none: id === null && !found.isPending };
}
