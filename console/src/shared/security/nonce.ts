import { setNonce } from 'get-nonce';

/** What stands in the page where no server has written a nonce, as while developing. */
const PLACE = '__STYLE_NONCE__';

/** The nonce that the page's own server wrote into the page, for style elements only. */
export function readStyleNonce(): string {
  const value = document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content ?? '';
  return value === PLACE ? '' : value;
}

/** Hands the nonce to the library that locks scrolling behind dialogs. */
export function prepareStyleNonce(): void {
  const nonce = readStyleNonce();
  if (nonce !== '') setNonce(nonce);
}
