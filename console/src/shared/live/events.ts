/** Reads a stream of server-sent events. Pure: text in, events and the unread rest out. */

export interface StreamEvent {
  topic: string;
  deviceId: string | null;
}

const MAX_REST = 256 * 1024;

function readBlock(block: string): StreamEvent | null {
  let name = '';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    else if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
  }
  if (name === '' && data.length === 0) return null;
  let body: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(data.join('\n'));
    if (typeof parsed === 'object' && parsed !== null) body = parsed as Record<string, unknown>;
  } catch {
    // An event whose body is not an object still says that something changed.
  }
  const topic = typeof body.topic === 'string' ? body.topic : name;
  const device = typeof body.device_id === 'string' ? body.device_id : null;
  return { topic, deviceId: device };
}

export function readEvents(text: string): { events: StreamEvent[]; rest: string } {
  const blocks = text.replaceAll('\r\n', '\n').split('\n\n');
  const rest = blocks.pop() ?? '';
  const events = blocks.map(readBlock).filter((event): event is StreamEvent => event !== null);
  return { events, rest: rest.length > MAX_REST ? '' : rest };
}

export type Key = readonly string[];

/** Which answers an event makes old; null means all of them. */
export function keysFor(event: StreamEvent): Key[] | null {
  const device: Key = event.deviceId ? ['device', event.deviceId] : ['device'];
  switch (event.topic) {
    case 'hello':
    case 'ping':
      return [];
    case 'device.changed':
    case 'evidence':
      return [['today'], ['devices'], ['sites'], device, ['timeline'], ['tour'], ['pending'], ['roster'], ['doctor']];
    case 'access.changed':
      return [['sessions'], ['session-of'], ['today'], device, ['timeline'], ['access']];
    case 'closing.changed':
      return [['closing'], ['timeline'], device];
    case 'update.changed':
      return [['updates'], ['today'], ['timeline'], device];
    case 'closing':
      return [['closing']];
    case 'record.changed':
      return [['record'], ['today'], ['state']];
    case 'visit':
      return [['visit']];
    case 'transfers':
      return [['transfers']];
    case 'access':
      return [['access'], ['timeline']];
    case 'drill.changed':
      return [['drill'], ['timeline'], ['tour']];
    default:
      return null;
  }
}
