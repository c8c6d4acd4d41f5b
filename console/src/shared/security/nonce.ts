import { setNonce } from 'get-nonce';

/** What stands in the page where no server has written a nonce, as while developing. */
const PLACE = '__STYLE_NONCE__';

/** The nonce that the page's own server wrote into the page, for style elements only. */
export function readStyleNonce(): string {
  return readNonce(document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content);
}

/** The nonce in what the page says; a nonce may begin with underscores, too. */
export function readNonce(said: string | undefined): string {
  return said === undefined || said === PLACE ? '' : said;
}

/** Hands the nonce to the library that locks scrolling behind dialogs. */
export function prepareStyleNonce(): void {
  const nonce = readStyleNonce();
  if (nonce !== '') setNonce(nonce);
}
