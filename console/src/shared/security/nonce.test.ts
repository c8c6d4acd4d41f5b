import { expect, it } from 'vitest';
import { readNonce } from './nonce';

it('takes every nonce that a server can make, and no placeholder for one', () => {
  expect(readNonce('__Jn6v2zBq9vWlWS6KyPuA')).toBe('__Jn6v2zBq9vWlWS6KyPuA');
  expect(readNonce('__STYLE_NONCE__')).toBe('');
  expect(readNonce(undefined)).toBe('');
});
