import { Http } from './http';
import type * as T from './ownerTypes';

/** Every call of the owner's console, to the program on the owner's own computer. */

const KEY = 'fleetward.owner.secret';
const PHONE_KEY = 'fleetward.phone.secret';
const CODE_KEY = 'fleetward.phone.code';
const CHANGED = 'fleetward-phone';

/** Phones are served by HTTPS alone, and this computer's own pages never. */
export const isPhoneDoor = (): boolean => location.protocol === 'https:';

/** Moves the secret out of the address into this tab, so that it is in no history entry. */
export function takeSecretFromAddress(): void {
  const brought = new URLSearchParams(location.hash.slice(1));
  const [name, value] = isPhoneDoor() ? [CODE_KEY, brought.get('code')] : [KEY, brought.get('secret')];
  if (!value) return;
  sessionStorage.setItem(name, value);
  history.replaceState(null, '', location.pathname + location.search);
}

export const hasOwnerSecret = (): boolean => sessionStorage.getItem(KEY) !== null;

/** The one-use code that the address brought, until it is used. */
export const readCode = (): string => sessionStorage.getItem(CODE_KEY) ?? '';

/** A phone keeps its own secret, so that it is added once and not at each opening. */
export const readPhoneSecret = (): string | null => localStorage.getItem(PHONE_KEY);

export function keepPhoneSecret(secret: string | null): void {
  if (secret === null) localStorage.removeItem(PHONE_KEY);
  else localStorage.setItem(PHONE_KEY, secret);
  sessionStorage.removeItem(CODE_KEY);
  dispatchEvent(new Event(CHANGED));
}

export function onPhoneSecret(act: () => void): () => void {
  addEventListener(CHANGED, act);
  return () => removeEventListener(CHANGED, act);
}

export const ownerHttp = new Http({
  secret: () => (isPhoneDoor() ? readPhoneSecret() : sessionStorage.getItem(KEY)),
  onSignedOut: () => (isPhoneDoor() ? keepPhoneSecret(null) : sessionStorage.removeItem(KEY)),
});

export const owner = {
  state: () => ownerHttp.get<T.OwnerState>('/state'),
  pending: () => ownerHttp.get<T.Pending>('/pending'),
  confirm: (body: { device_id: string; words: string; name: string; site: string }) =>
    ownerHttp.post<T.Signed>('/confirm', body),
  roster: () => ownerHttp.get<T.Roster>('/roster'),
  retire: (body: { device_id: string; reason: string }) => ownerHttp.post<T.Signed>('/retire', body),
  invite: (body: { site: string; uses: number; ttl_seconds: number; preapproved: boolean }) =>
    ownerHttp.post<T.Invitation>('/invitations', body),
  access: () => ownerHttp.get<T.AccessList>('/access'),
  accessOne: (id: string) => ownerHttp.get<T.Access>(`/access/${id}`),
  changes: (id: string) => ownerHttp.get<T.WhatChanged>(`/access/${id}/changes`),
  prepare: (body: { id: string; scopes: string[]; seconds: number; watched: boolean }) =>
    ownerHttp.post<T.Prepared>('/access/prepare', body),
  approve: (grant: string) => ownerHttp.post<T.Answered>('/access/approve', { grant }),
  approveByPasskey: (grant: string, passkey: T.PasskeyYes) =>
    ownerHttp.post<T.Answered>('/access/passkey/approve', { grant, passkey }),
  prepareEnding: (body: { id: string; what: 'deny' | 'stop'; reason: string }) =>
    ownerHttp.post<T.PreparedEnding>('/access/passkey/ending', body),
  endByPasskey: (stop: string, passkey: T.PasskeyYes) =>
    ownerHttp.post<T.Answered>('/access/passkey/end', { stop, passkey }),
  deny: (body: { id: string; reason: string }) => ownerHttp.post<T.Answered>('/access/deny', body),
  acknowledge: (id: string) => ownerHttp.post<T.Answered>('/access/acknowledge', { id }),
  stop: (body: { id: string; reason: string }) => ownerHttp.post<T.Answered>('/access/stop', body),
  windows: () => ownerHttp.get<T.AheadList>('/windows'),
  prepareWindow: (body: T.AheadWish) => ownerHttp.post<T.PreparedAhead>('/windows/prepare', body),
  allowWindow: (standing: string, passkey: T.PasskeyYes | null = null) =>
    ownerHttp.post<T.AheadSaid>('/windows/allow', { standing, passkey }),
  revokeWindow: (body: { standing: string; reason: string }) => ownerHttp.post<T.AheadSaid>('/windows/revoke', body),
  beginPasskey: (body: { person: string; passphrase: string }) =>
    ownerHttp.post<T.BegunPasskey>('/passkeys/begin', body),
  addPasskey: (body: { challenge: string; authenticator_data: string; client_data: string; passphrase: string }) =>
    ownerHttp.post<T.PolicySigned>('/passkeys/add', body),
  removePasskey: (body: { key_id: string; passphrase: string }) =>
    ownerHttp.post<T.PolicySigned>('/passkeys/remove', body),
  refuseRecovery: (body: { passphrase: string }) => ownerHttp.post<T.PolicySigned>('/recovery/refuse', body),
  phones: () => ownerHttp.get<T.Phones>('/phones'),
  makeCode: () => ownerHttp.post<T.PhoneCode>('/phones/code'),
  removePhone: (id: string) => ownerHttp.post<T.Phones>('/phones/remove', { id }),
  namePhonePasskey: (body: { id: string; words: string; person: string; passphrase: string }) =>
    ownerHttp.post<T.PolicySigned>('/phones/passkey', body),
  enrolPhone: (body: { code: string; name: string }) => ownerHttp.post<T.EnrolledPhone>('/phone/enrol', body),
  phone: () => ownerHttp.get<T.ThisPhone>('/phone'),
  beginOnPhone: (person: string) => ownerHttp.post<T.BegunPasskey>('/phone/passkey/begin', { person }),
  offerPasskey: (body: { challenge: string; authenticator_data: string; client_data: string }) =>
    ownerHttp.post<{ words: string }>('/phone/passkey/offer', body),
  recording: (id: string, begin: number, live: boolean) =>
    ownerHttp.get<T.Screening>(`/access/${id}/recording?begin=${begin}&live=${live ? 1 : 0}`),
  closing: () => ownerHttp.get<T.ClosingPage>('/closing'),
  close: (body: T.CloseWish) => ownerHttp.post<T.ClosedSigned>('/closing/close', body),
  openAgain: (body: T.CloseWish) => ownerHttp.post<T.ClosedSigned>('/closing/open', body),
  keepClosed: (id: string) => ownerHttp.post<T.ClosedSigned>('/closing/keep', { id }),
  verify: () => ownerHttp.post<T.Verdict>('/verify', {}),
};
