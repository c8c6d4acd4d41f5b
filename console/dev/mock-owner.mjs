// Made-up answers of the owner's own program. For development of the pages only; never shipped.
import { wordsOf } from './mock-data.mjs';

const iso = (age) => new Date(Date.now() - age).toISOString();
const HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

export function makeOwner(fleet) {
  const state = {
    pending: fleet.filter((row) => row.state === 'pending').slice(0, 3).map((row) => ({
      id: row.id, words: wordsOf(row.seed), name_suggested: row.name, site: row.site, model: row.model, joined_at: iso(8 * 60_000), preapproved: row.seed > 20,
    })),
    roster: fleet.filter((row) => ['active', 'quarantined'].includes(row.state)).map(({ id, name, site, model, maker }, at) => ({
      id, name, site, model, maker, groups: [], state: at % 7 === 6 ? 'retired' : 'active',
    })),
  };
  return (method, path, body, scenario) => {
    switch (`${method} ${path}`) {
      case 'GET /state':
        return {
          name: 'Example clinics', owner_root: HASH,
          policy: {
            version: 2, epoch: 1, hash: HASH,
            people: [{ person: 'Anna Example', keys: [{ key_id: 'mtpsg75ztnlpkjvs5h5rk64fe5pt2l43', suite: 'es256', scopes: ['roster'] }, { key_id: 'q5dy7xw2m4hiefqzrvb3d6lcsm7tkoan', suite: 'ed25519', scopes: ['roster', 'policy'] }] }, { person: 'Bert Example', keys: [{ key_id: 'lmh6nqp3r5tzvxw2m4hiefqzrvb3d6lc', suite: 'ed25519', scopes: ['policy'] }] }],
            thresholds: [{ scope: 'policy', people: 2 }, { scope: 'roster', people: 1 }],
            roots: [{ name: 'Server certificate authority', value: HASH }, { name: 'Record key', value: 'fleetward-log+7f3a+AbCd' }],
          },
          roster: { version: 4, count: state.roster.length, hash: HASH },
          head: { version: 7, lease_until: iso(-6 * 86_400_000), hash: HASH },
          server: { url: 'http://console.localhost:8443/', reachable: scenario !== 'unreachable', words: 'It was last heard 3 minutes ago. What you sign is kept here and sent when it is back.' },
          same_host: scenario !== 'unreachable',
          same_host_words: 'The owner’s keys lie on the server’s own computer. Whoever breaks into this computer can sign as you. The cure is a new root, made on another computer, and joining again.',
        };
      case 'GET /pending': return { items: state.pending };
      case 'GET /roster': return { items: state.roster };
      case 'POST /confirm': {
        state.pending = state.pending.filter((item) => item.id !== body.device_id);
        state.roster.push({ id: body.device_id, name: body.name, site: body.site, model: '', maker: '', groups: [], state: 'active' });
        return { id: body.device_id, state: 'active', roster: 5, handed_over: scenario !== 'unreachable', words: `${body.name} is active on roster 5.` };
      }
      case 'POST /retire': {
        const found = state.roster.find((item) => item.id === body.device_id);
        if (found) found.state = 'retired';
        return { id: body.device_id, state: 'retired', roster: 5, handed_over: true, words: '' };
      }
      case 'POST /invitations': return { join: `fw1.${HASH}${HASH}${HASH}`, expires_at: iso(-body.ttl_seconds * 1000), owner_root: HASH };
      case 'POST /verify': return {
        entries: 4182, as_of: iso(0),
        proven: [{ id: 'tree', words: '4,182 entries are there, unaltered and in order, under a checkpoint that the log key signed.' }, { id: 'heads', words: 'The signed words of 11 devices agree with it.' }],
        contradicted: scenario === 'lie' ? [{ id: 'altered', words: 'Its content is not what the record’s tree holds: it was altered after it was written.', entry: 2917 }] : [],
        unknown: [{ id: 'tail', words: 'What it did after its newest signed word cannot be known yet.', device: 'pump-04', age_seconds: 2820 }],
        command: `fleetward audit verify record --root ${HASH}`,
      };
      default: return undefined;
    }
  };
}
