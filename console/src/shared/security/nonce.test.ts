import { afterEach, expect, it } from 'vitest';
import { readStyleNonce } from './nonce';

afterEach(() => {
  document.head.replaceChildren();
});

function write(nonce: string): void {
  const meta = document.createElement('meta');
  meta.name = 'style-nonce';
  meta.content = nonce;
  document.head.append(meta);
}

it('takes every nonce that a server can make, and no placeholder for one', () => {
  expect(readStyleNonce()).toBe('');
  write('__Jn6v2zBq9vWlWS6KyPuA');
  expect(readStyleNonce()).toBe('__Jn6v2zBq9vWlWS6KyPuA');
  document.head.replaceChildren();
  write('__STYLE_NONCE__');
  expect(readStyleNonce()).toBe('');
});
