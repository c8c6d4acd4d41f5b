import { describe, expect, it } from 'vitest';
import { installTrustedTypes, passStyleText } from './trustedTypes';

describe('the default policy', () => {
  it('passes style text as it is', () => {
    expect(passStyleText(':root{--x:1px}@media (min-width:2em){a>b{c:d}}')).toContain('--x');
  });
  it('refuses anything with a tag', () => {
    expect(passStyleText('<img src=x onerror=alert(1)>')).toBeNull();
  });
  it('has no way to make a script or its address', () => {
    let rules: object = {};
    installTrustedTypes({ trustedTypes: { createPolicy: (_name, given) => (rules = given) } });
    expect(Object.keys(rules)).toEqual(['createHTML']);
  });
});
