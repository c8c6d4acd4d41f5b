import { describe, expect, it } from 'vitest';
import { ApiFailure, kindOfStatus, query, sayProblem, titleOf } from './http';

describe('a refusal', () => {
  it('says what the server said, and what to do next', () => {
    expect(sayProblem('refused', { detail: 'The reason is empty.', next: 'Write one.' })).toBe(
      'The reason is empty. Write one.',
    );
  });
  it('says who can do something, when the server does not', () => {
    expect(sayProblem('refused', { detail: 'Viewers cannot quarantine.' })).toContain('administrator');
    expect(sayProblem('down', {})).toContain('start it again');
    expect(sayProblem('signed_out', {})).toContain('login-link');
  });
  it('asks for no administrator where a role would not help', () => {
    expect(sayProblem('refused', { detail: 'It is in quarantine already.', status: 409 })).toBe('It is in quarantine already.');
    expect(sayProblem('broken', { detail: 'The log tells it under 7.', status: 500 })).toBe('The log tells it under 7.');
  });
  it('keeps the server’s own title', () => {
    expect(titleOf(new ApiFailure('refused', { title: 'Not yours' }))).toBe('Not yours');
    expect(titleOf(new Error('x'))).toBe('Something went wrong');
  });
});

describe('a status', () => {
  it.each([
    [401, 'signed_out'],
    [403, 'refused'],
    [404, 'missing'],
    [409, 'refused'],
    [500, 'broken'],
    [503, 'down'],
  ])('%d is %s', (status, kind) => expect(kindOfStatus(status)).toBe(kind));
});

describe('a query', () => {
  it('leaves out what is empty and keeps one order', () => {
    expect(query({ z: '', b: 2, a: 'x y', n: null })).toBe('?a=x+y&b=2');
    expect(query({})).toBe('');
  });
});
