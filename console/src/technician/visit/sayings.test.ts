import { describe, expect, it } from 'vitest';
import type { Visit } from '../../api/technicianTypes';
import { faceOfVisit, sayAnyOf, sayEnd, sayLeft, sayPeople, saySize } from './sayings';

const visit = (more: Partial<Visit>): Visit => ({ phase: 'open', machine: 'pump-7', over_words: '', over_by: '', over_who: '', failed: false, ...more }) as Visit;

describe('what is said of a visit', () => {
  it('says what is waited for', () => {
    expect(faceOfVisit(visit({ phase: 'waiting', machine_ready: false })).words).toBe('Waits for pump-7');
    expect(faceOfVisit(visit({ phase: 'waiting', machine_ready: true })).words).toBe('Waits for the owner');
  });
  it('names people', () => {
    expect([sayPeople([]), sayPeople(['Ana']), sayPeople(['Ana', 'Bo', 'Cy'])]).toEqual(['nobody', 'Ana', 'Ana, Bo and Cy']);
    expect(sayAnyOf(['Ana', 'Bo'])).toBe('Ana or Bo');
  });
  it('counts down', () => {
    expect([sayLeft(1450), sayLeft(5050), sayLeft(-3)]).toEqual(['24:10', '1:24:10', '0:00']);
  });
  it('says who ended it', () => {
    expect(sayEnd(visit({ over_by: 'stopped', over_who: 'Ana' }))).toBe('It was ended by Ana: stopped.');
    expect(sayEnd(visit({ over_by: 'stopped', over_who: 'Ana', over_words: 'Stopped by Ana. enough' }))).toBe('It was ended by Ana because: enough');
    expect(sayEnd(visit({ over_by: 'its time was over' }))).toBe('It was ended: its time was over.');
    expect(sayEnd(visit({ over_by: 'left by who was inside', over_who: 'Tom' }))).toBe('You left it.');
    expect(sayEnd(visit({ over_words: 'The owner said no.' }))).toBe('The owner said no.');
  });
  it('says sizes', () => {
    expect([saySize(0), saySize(1500), saySize(123_000_000)]).toEqual(['0 B', '1.5 KB', '123 MB']);
  });
});
