import { Http, query } from './http';
import { readSecret, forgetSecret } from './secret';
import type * as T from './types';

/** Every call that the console makes to its server. It shows and requests; it never signs. */

export const http = new Http({ secret: readSecret, onSignedOut: forgetSecret });

export type Search = Record<string, string | number | null | undefined>;

const release = (product: string, version: string): string =>
  `/updates/releases/${encodeURIComponent(product)}/${encodeURIComponent(version)}`;
const recall = (id: string): string => `/updates/recalls/${encodeURIComponent(id)}`;
const of = (id: string): string => `/devices/${encodeURIComponent(id)}`;

export const api = {
  redeem: (code: string) => http.post<T.OpenedSession>('/session/redeem', { code }),
  session: () => http.get<T.Session>('/session'),
  signOut: () => http.remove('/session'),
  passkeyBegin: (what: 'register' | 'login') =>
    http.post<T.Ceremony>(`/session/passkey/${what}/begin`),
  passkeyRegister: (body: { challenge_id: string; credential: unknown }) =>
    http.post<unknown>('/session/passkey/register/finish', body),
  passkeyLogin: (body: { challenge_id: string; credential: unknown }) =>
    http.post<T.OpenedSession>('/session/passkey/login/finish', body),

  persons: () => http.get<T.Page<T.PersonRow>>('/persons'),
  addPerson: (body: T.PersonWish) => http.post<T.PersonRow>('/persons', body),
  removePerson: (id: string) => http.remove(`/persons/${encodeURIComponent(id)}`),
  loginLink: (person_id: string) =>
    http.post<T.LinkMade>('/login-links', { person_id }),

  tokens: () => http.get<T.Page<T.Token>>('/tokens'),
  createToken: (body: T.TokenWish) => http.post<T.CreatedToken>('/tokens', body),
  revokeToken: (id: string) => http.remove(`/tokens/${encodeURIComponent(id)}`),

  today: () => http.get<T.Today>('/today'),
  devices: (search: Search) => http.get<T.Page<T.DeviceRow>>(`/devices${query(search)}`),
  sites: () => http.get<T.Sites>('/sites'),
  device: (id: string) => http.get<T.Device>(of(id)),
  facts: <Row>(id: string, list: string, search: Search) =>
    http.get<T.FactPage<Row>>(`${of(id)}/${list}${query(search)}`),
  history: (id: string, search: Search) =>
    http.get<T.Page<T.HistoryItem>>(`${of(id)}/history${query(search)}`),
  quarantine: (id: string, reason: string) => http.post<unknown>(`${of(id)}/quarantine`, { reason }),
  readmit: (id: string, reason: string) => http.post<unknown>(`${of(id)}/readmit`, { reason }),

  tiers: (id: string) => http.get<T.MachineClosing>(`/closing-machines/${encodeURIComponent(id)}`),

  sessions: (search: Search) => http.get<T.Page<T.AccessRow>>(`/access/requests${query(search)}`),
  ahead: (search: Search) => http.get<T.AheadList>(`/access/standing${query(search)}`),
  session_of: (id: string) => http.get<T.AccessDetail>(`/access/requests/${encodeURIComponent(id)}`),

  updates: (search: Search) => http.get<T.UpdatesOverview>(`/updates/overview${query(search)}`),
  releases: () => http.get<T.ReleaseList>('/updates/releases'),
  release: (product: string, version: string) => http.get<T.ReleaseDetail>(release(product, version)),
  releaseDevices: (product: string, version: string, search: Search) =>
    http.get<T.ReleaseDevices>(`${release(product, version)}/devices${query(search)}`),
  deviceUpdates: (id: string, search: Search) =>
    http.get<T.DeviceUpdates>(`/updates/devices/${encodeURIComponent(id)}${query(search)}`),
  rollouts: () => http.get<T.RolloutList>('/updates/rollouts'),
  rollout: (id: string, search: Search) =>
    http.get<T.RolloutDetail>(`/updates/rollouts/${encodeURIComponent(id)}${query(search)}`),
  forecastRollout: (wish: T.RolloutWish) => http.post<T.RolloutForecast>('/updates/rollout-forecasts', wish),
  createRollout: (wish: T.RolloutWish) => http.post<T.Rollout>('/updates/rollouts', wish),
  changeRollout: (id: string, verb: string, reason: string) =>
    http.post<T.Rollout>(`/updates/rollouts/${encodeURIComponent(id)}/${verb}`, { reason }),
  recalls: () => http.get<T.RecallList>('/updates/recalls'),
  recall: (id: string, search: Search) => http.get<T.RecallDetail>(`${recall(id)}${query(search)}`),
  forecastRecall: (wish: T.RecallWish) => http.post<T.RecallForecast>('/updates/recall-forecasts', wish),
  openRecall: (wish: T.RecallWish) => http.post<T.Recall>('/updates/recalls', wish),
  changeRecall: (id: string, verb: string, reason: string) => http.post<T.Recall>(`${recall(id)}/${verb}`, { reason }),
  noteRecalled: (id: string, devices: string[], words: string) => http.post<T.Recall>(`${recall(id)}/notes`, { devices, words }),
  recallFile: async (id: string, name: 'proof' | 'machines.csv') => (await http.send('GET', `${recall(id)}/${name}`)).blob(),

  timeline: (search: Search) => http.get<T.Page<T.HistoryItem>>(`/timeline${query(search)}`),
  record: () => http.get<T.LogRecord>('/record'),
  exportRecord: async () => (await http.send('GET', '/record/export')).blob(),
  pending: () => http.get<T.PendingDevices>('/owner/pending'),

  startDrill: (device_id: string) =>
    http.post<T.Drill>('/drills', { kind: 'stolen-server', device_id }),
  drill: (id: string) => http.get<T.Drill>(`/drills/${encodeURIComponent(id)}`),
  doctor: () => http.get<T.Doctor>('/doctor'),
  tour: () => http.get<T.Tour>('/tour'),
  stepTour: (wish: T.TourWish) => http.post<T.Tour>('/tour', wish),
};
