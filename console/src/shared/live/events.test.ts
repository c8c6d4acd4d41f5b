import { describe, expect, it } from 'vitest';
import { keysFor, readEvents } from './events';

describe('a stream of events', () => {
  it('is read block by block and keeps the unfinished rest', () => {
    const { events, rest } = readEvents(
      ': hi\n\nevent: device.changed\ndata: {"device_id":"abc"}\n\nevent: rec',
    );
    expect(events).toEqual([{ topic: 'device.changed', deviceId: 'abc' }]);
    expect(rest).toBe('event: rec');
  });
  it('survives a body that is no object', () => {
    expect(readEvents('event: tour\r\ndata: nonsense\r\n\r\n').events).toEqual([
      { topic: 'tour', deviceId: null },
    ]);
  });
  it('never keeps an endless block', () => {
    expect(readEvents('data: ' + 'x'.repeat(300_000)).rest).toBe('');
  });
});

describe('what an event makes old', () => {
  it('is one device where it names one', () => {
    expect(keysFor({ topic: 'device.changed', deviceId: 'abc' })).toContainEqual(['device', 'abc']);
  });
  it('is the sessions where somebody asked or came in', () => {
    const keys = keysFor({ topic: 'access.changed', deviceId: 'abc' });
    expect(keys).toContainEqual(['sessions']);
    expect(keys).toContainEqual(['device', 'abc']);
  });
  it('is the updates, and the machine that reported', () => {
    const keys = keysFor({ topic: 'update.changed', deviceId: 'abc' });
    expect(keys).toContainEqual(['updates']);
    expect(keys).toContainEqual(['device', 'abc']);
  });
  it('is everything where the topic is new to this page', () => {
    expect(keysFor({ topic: 'something-new', deviceId: null })).toBeNull();
  });
  it('is nothing for a heartbeat', () => {
    expect(keysFor({ topic: 'ping', deviceId: null })).toEqual([]);
  });
});
