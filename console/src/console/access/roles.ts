import type { Role, Token } from '../../api/types';

export const ROLES: { value: Role; label: string }[] = [
  { value: 'viewer', label: 'Look' },
  { value: 'operator', label: 'Look, quarantine and readmit' },
  { value: 'admin', label: 'Everything on this server' },
];

export const LIVES = [
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '2592000', label: '30 days' },
  { value: '7776000', label: '90 days' },
];

export const sayRole = (role: Role): string => ROLES.find((each) => each.value === role)?.label ?? role;

export function sayScope(scope: Token['scope']): string {
  if (scope === null) return 'All devices';
  const parts = [
    scope.sites.length > 0 ? scope.sites.join(', ') : null,
    scope.devices.length > 0 ? `${scope.devices.length} named devices` : null,
  ].filter((part) => part !== null);
  return parts.length > 0 ? parts.join(' and ') : 'No device';
}
