// Made-up changes of a session: findings, long names, more than fits.
const FINDINGS = [
  { rule: 'root_user', severity: 'warning', words: 'A new user support has all rights of root', evidence: 'uid 0, group 0, shell /bin/bash, home /srv/support, password set', attack: ['T1136.001', 'T1078.003'] },
  { rule: 'new_key', severity: 'warning', words: 'A new key opens the user app', evidence: `/srv/app/.ssh/authorized_keys SHA256:${'x'.repeat(43)} ssh-ed25519 tom@laptop`, attack: ['T1098.004'] },
  { rule: 'approved_remote_tool', severity: 'info', words: 'AnyDesk, approved by Ada Lind', evidence: 'package anydesk (contract 2026-7)', attack: ['T1219'] },
];

const CHANGES = [
  { kind: 'user', change: 'added', name: 'support', before: '', after: 'uid 0, group 0, shell /bin/bash' },
  { kind: 'key', change: 'added', name: 'app /srv/app/.ssh/authorized_keys', before: '', after: 'ssh-ed25519 tom@laptop' },
  { kind: 'file', change: 'changed', name: `/etc/application/with/a/very/long/folder/${'name'.repeat(30)}.conf`, before: '120 bytes', after: '164 bytes' },
  { kind: 'file', change: 'removed', name: '/etc/old.conf', before: 'file 0644 of 0:0, 12 bytes', after: '' },
];

const NOTES = ['/usr/local: 3 folders were not looked through wholly.'];

/** What changed in a session: much in one of them, nothing in another. */
export function makeChanges(much) {
  return much
    ? { findings: FINDINGS, changes: CHANGES, left: 12, notes: NOTES }
    : { findings: [], changes: [], left: 0, notes: [] };
}
