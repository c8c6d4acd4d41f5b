import { Http, query } from './http';
import type * as T from './technicianTypes';

/** Every call of the technician's page, to the program on the technician's own computer. */

const KEY = 'fleetward.technician.secret';

/** Moves the secret out of the address into this tab, so that it is in no history entry. */
export function takeSecretFromAddress(): void {
  const secret = new URLSearchParams(location.hash.slice(1)).get('secret');
  if (!secret) return;
  sessionStorage.setItem(KEY, secret);
  history.replaceState(null, '', location.pathname + location.search);
}

export const hasSecret = (): boolean => sessionStorage.getItem(KEY) !== null;

export const technicianHttp = new Http({
  secret: () => sessionStorage.getItem(KEY),
  onSignedOut: () => sessionStorage.removeItem(KEY),
});

const bytes = new TextEncoder();

export const technician = {
  visit: () => technicianHttp.get<T.Visit>('/visit'),
  leave: () => technicianHttp.post<T.Visit>('/leave', {}),
  openTerminal: (body: { place: number; columns: number; rows: number }) =>
    technicianHttp.post<T.TerminalState>('/terminals', body),
  terminal: (id: string) => technicianHttp.get<T.TerminalState>(`/terminals/${id}`),
  output: (id: string, signal: AbortSignal) =>
    technicianHttp.send('GET', `/terminals/${id}/output`, undefined, signal),
  type: (id: string, text: string) => technicianHttp.sendBytes(`/terminals/${id}/input`, bytes.encode(text)),
  resize: (id: string, columns: number, rows: number) =>
    technicianHttp.post<void>(`/terminals/${id}/size`, { columns, rows }),
  closeTerminal: (id: string) => technicianHttp.post<void>(`/terminals/${id}/close`, {}),
  logs: (place: number, lines: number, follow: boolean, signal: AbortSignal) =>
    technicianHttp.send('GET', `/logs${query({ place: String(place), lines, follow: follow ? 1 : 0 })}`, undefined, signal),
  folder: (place: number, path: string) =>
    technicianHttp.get<T.Folder>(`/files${query({ place: String(place), path })}`),
  fetchFile: (place: number, path: string) => technicianHttp.post<T.Ticket>('/files/ticket', { place, path }),
  putFile: (place: number, path: string, file: Blob) =>
    technicianHttp.sendBytes(`/files${query({ place: String(place), path, size: String(file.size) })}`, file),
  transfers: () => technicianHttp.get<T.Transfers>('/transfers'),
};
