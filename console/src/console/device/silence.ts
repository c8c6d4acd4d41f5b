import type { Device } from '../../api/types';

/** Nothing that a silent device said is known to hold now. */
export const isSilent = (device: Pick<Device, 'connection'>): boolean => device.connection !== 'connected';
