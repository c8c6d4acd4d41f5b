import { readStyleNonce } from '../../shared/security/nonce';

/**
 * Lets the terminal's own styles through the content policy: its style elements get the page's
 * nonce, and a style that it writes as an attribute is set as one. Must come before the terminal.
 */
const nonce = readStyleNonce();
const create = document.createElement.bind(document);
const setAttribute = Element.prototype.setAttribute;

document.createElement = ((name: string, options?: ElementCreationOptions) => {
  const made = create(name, options);
  if (made instanceof HTMLStyleElement) made.nonce = nonce;
  return made;
}) as typeof document.createElement;

Element.prototype.setAttribute = function (name: string, value: string): void {
  if (name === 'style' && this instanceof HTMLElement) this.style.cssText = value;
  else setAttribute.call(this, name, value);
};
