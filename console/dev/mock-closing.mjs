// Made-up tiers and closings. For development of the pages only; never shipped.
const iso = (age) => new Date(Date.now() - age).toISOString();

const TIERS = {
  yes: [
    ['yes', 'Its one connection goes out from it, by TLS 1.3, and both sides prove who they are. Nothing else leads to it from here.'],
    ['yes', 'Closed by a filter on the owner\u2019s order: SSH on port 22.'],
    ['yes', 'It follows the owner\u2019s policy 2: every session needs a grant, to which 1 person has to say yes. The machine itself checks that, and no server can change it.'],
  ],
  no: [
    ['yes', 'Its one connection goes out from it, by TLS 1.3, and both sides prove who they are. Nothing else leads to it from here.'],
    ['no', 'SSH waits on port 22; Telnet waits on port 23. Nothing keeps others from it.'],
    ['yes', 'It follows the owner\u2019s policy 2: nobody may ask for a session, so nobody gets in. The machine itself checks that, and no server can change it.'],
  ],
  stale: [
    ['stale', 'It was yes 63 hours ago, and nothing newer is known. Its one connection goes out from it, by TLS 1.3.'],
    ['stale', 'It was no 63 hours ago, and nothing newer is known. SSH waits on port 22. Nothing keeps others from it.'],
    ['stale', 'It was yes 63 hours ago, and nothing newer is known. It follows the owner\u2019s policy 1.'],
  ],
  unknown: [
    ['unknown', 'It has not connected yet.'],
    ['unknown', 'It has not said yet what waits on its ports.'],
    ['unknown', 'It has not said yet which policy it follows.'],
  ],
};
const TITLES = ['Encrypted', 'Local access off', 'Permission required'];
const kindOf = (row) => row.connection === 'never' ? 'unknown' : row.connection === 'silent' ? 'stale' : row.seed % 3 === 0 ? 'no' : 'yes';

const makeTierRows = (row) => TIERS[kindOf(row)].map(([state, words], at) => ({
  number: at + 1, title: TITLES[at], state, words, as_of: kindOf(row) === 'unknown' ? null : kindOf(row) === 'stale' ? iso(63 * 3_600_000) : iso(38_000),
}));

export function makeTiers(row) {
  const closed = kindOf(row) === 'yes' ? 'SSH, tcp/23' : '';
  return {
    device_id: row.id, name: row.name, site: row.site, connected: row.connection === 'connected', simulated: true, tiers: makeTierRows(row),
    ports: [], looked_at: iso(38_000), peers: [], peers_more: 0, peers_at: iso(50_000), closed, seconds_left: 0, report: '',
    reported_at: closed ? iso(7_200_000) : null, last_cut: closed ? ['10.2.3.9:50122 on tcp/22'] : [],
  };
}

const wish = (row) => ({
  id: row.id, name: row.name, site: row.site, connected: row.connection === 'connected', simulated: true, tiers: makeTierRows(row),
  ports: kindOf(row) === 'no' ? [{ name: 'tcp/22', process: 'sshd', closed: false }, { name: 'tcp/23', process: 'in.telnetd', closed: false }, { name: 'tcp/8080', process: 'pump-web-with-a-very-long-name', closed: false }] : [{ name: 'tcp/22', process: 'sshd', closed: true }],
  looked_at: kindOf(row) === 'unknown' ? null : iso(38_000), peers: kindOf(row) === 'no' ? [{ port: 22, address: '10.2.3.9' }, { port: 22, address: 'fd00:1234:5678:9abc:def0:1234:5678:9abc' }] : [],
  peers_more: 0, peers_at: kindOf(row) === 'unknown' ? null : iso(50_000), closed: kindOf(row) === 'yes' ? 'SSH, tcp/23' : '', said: '',
  trouble: row.seed === 4 ? 'What it is said to have closed is not believed: The signature is not its signer\u2019s.' : '',
});

export const makeClosingPage = (fleet, scenario) => ({
  machines: scenario === 'empty' ? [] : fleet.filter((row) => row.state === 'active').map(wish),
  more: 0,
  trials: scenario === 'empty' || scenario === 'calm' ? [] : [{
    id: 'c'.repeat(64), words: 'SSH, tcp/8080', reason: 'nobody needs it', machines: ['pump-04', 'pump-05'], others: ['pump-06: tcp/104 stays open: this machine needs it (takes images from the scanner).'],
    cut: ['10.2.3.9:50122 on tcp/22 at pump-04'], ends_at: iso(-598_000),
  }],
});
