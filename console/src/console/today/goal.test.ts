import { describe, expect, it } from 'vitest';
import type { Card } from '../../api/types';
import { isGoal, orderCards } from './goal';

const card = (kind: string): Card => ({
  id: kind,
  kind,
  title: kind,
  where: '',
  why: '',
  since: '2026-11-23T12:00:00.000Z',
  verb: { label: 'Look', href: '/' },
});
const kinds = (cards: Card[]): string[] => cards.map((each) => each.kind);
const given = ['waiting', 'exposure', 'record', 'updates', 'silence'].map(card);

describe('the order of the home page', () => {
  it('is the server’s own without a goal', () => expect(orderCards(given, null)).toBe(given));
  it('never puts a goal before who waits, nor before a broken record', () => {
    expect(kinds(orderCards(given, 'update'))).toEqual(['waiting', 'record', 'updates', 'exposure', 'silence']);
  });
  it('keeps every card', () => {
    expect(kinds(orderCards(given, 'reach')).sort()).toEqual(kinds(given).sort());
  });
  it('knows its four goals', () => {
    expect(isGoal('protect')).toBe(true);
    expect(isGoal('else')).toBe(false);
  });
});
