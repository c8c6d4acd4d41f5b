import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import type { Doctor } from '../../api/types';
import { Section } from '../../shared/ui/Page';
import { State, type Face } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';

const FACES: Record<Doctor['checks'][number]['state'], Face> = {
  ok: { tone: 'good', icon: 'check', words: 'In order' },
  warn: { tone: 'warn', icon: 'alert', words: 'Look at it' },
  bad: { tone: 'bad', icon: 'cross', words: 'Mend it' },
};
const RANK = { bad: 0, warn: 1, ok: 2 } as const;

/** What the server's own check found; what is in order is counted, not listed. */
export function Health() {
  const doctor = useQuery({ queryKey: ['doctor'], queryFn: api.doctor });
  if (!doctor.data) return null;
  const open = doctor.data.checks.filter((check) => check.state !== 'ok').sort((a, b) => RANK[a.state] - RANK[b.state]);
  const fine = doctor.data.checks.length - open.length;
  return (
    <Section title="Is the set-up in order?" aside={<span className="asof">{fine} of {doctor.data.checks.length} in order</span>}>
      {open.length === 0 ? (
        <p className="quiet small">Yes.</p>
      ) : (
        <ul className="panel rows checks">
          {open.map((check) => (
            <li key={check.id}>
              <State face={FACES[check.state]} />
              <div>
                <p><Words text={check.words} /></p>
                {check.next && <p className="quiet small"><Words text={check.next} /></p>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}
