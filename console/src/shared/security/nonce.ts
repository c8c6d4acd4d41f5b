import { setNonce } from 'get-nonce';

/** The nonce that the page's own server wrote into the page, for style elements only. */
export function readStyleNonce(): string {
  const value = document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content ?? '';
  return value.startsWith('__') ? '' : value;
}

/** Hands the nonce to the library that locks scrolling behind dialogs. */
export function prepareStyleNonce(): void {
  const nonce = readStyleNonce();
  if (nonce !== '') setNonce(nonce);
}
