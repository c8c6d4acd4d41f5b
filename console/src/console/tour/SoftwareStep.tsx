import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { Tour, UpdateReport } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { CopyLine } from '../../shared/ui/Copy';
import { Section } from '../../shared/ui/Page';
import { Note, State, type Face } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { useMachine } from './useMachine';

const FACES: Record<Exclude<UpdateReport['outcome'], ''>, Face> = {
  accepted: { tone: 'quiet', icon: 'clock', words: 'Under way' },
  installed: { tone: 'quiet', icon: 'clock', words: 'On trial' },
  committed: { tone: 'good', icon: 'check', words: 'Runs' },
  refused: { tone: 'quiet', icon: 'check', words: 'Refused' },
  rolled_back: { tone: 'warn', icon: 'alert', words: 'Taken back' },
  failed: { tone: 'warn', icon: 'alert', words: 'Failed' },
};

/** A maker, an owner and an operator are played by one command; here is what the machine says. */
export function SoftwareStep({ tour }: { tour: Tour }) {
  const { id } = useMachine(tour);
  const updates = useQuery({
    queryKey: ['updates', 'tour', id ?? ''],
    queryFn: () => api.deviceUpdates(id ?? '', { per_page: 20 }),
    enabled: id !== null,
    // What the machine refused belongs to the thief's step.
    select: (data) => data.items.filter((report) => report.outcome !== 'refused'),
  });
  const said = updates.data ?? [];
  return (
    <>
      <p className="tour-lead">
        A maker signs a new version of a small web page, the owner approves it, and it goes to this machine, to a
        quarter, to all. The next version is broken: this machine takes it back by itself, and nobody else gets it.
      </p>
      <CopyLine
        text={tour.facts.release_command ?? 'fleetward demo release'}
        label="the command that brings new software"
      />
      <p className="small quiet tour-after">
        It takes about a minute, and says for each step the command that a maker or an owner types. Watch{' '}
        <Link href="/updates">Updates</Link>
        {id !== null && (
          <>
            {' '}
            and <Link href={`/devices/${id}`}>this machine</Link>
          </>
        )}{' '}
        meanwhile.
      </p>
      <Section title="What this machine says">
        <div aria-live="polite">
          {said.length > 0 ? (
            <Said said={said} />
          ) : (
            <p className="tour-wait panel panel-pad">
              <span className="tour-pulse" aria-hidden="true" />
              Waiting for new software
            </p>
          )}
        </div>
      </Section>
    </>
  );
}

function Said({ said }: { said: UpdateReport[] }) {
  const outcomes = new Set(said.map((report) => report.outcome));
  return (
    <>
      <ul className="panel rows attacks">
        {said.map((report) => (
          <li key={report.id}>
            <div>
              <strong>
                {report.product} {report.version}
              </strong>
              <p className="attack-answer">
                <Words text={report.words} />
              </p>
              <span className="small quiet">
                <Age at={report.said_at} />
              </span>
            </div>
            {report.outcome !== '' && <State face={FACES[report.outcome]} />}
          </li>
        ))}
      </ul>
      {outcomes.has('committed') && outcomes.has('rolled_back') && (
        <div className="tour-gap">
          <Note tone="good" icon="check" live>
            <strong>The good one runs, and the broken one was taken back.</strong>
            <p>Nobody had to come. Each of these lines is signed by the machine, and stands in the record.</p>
          </Note>
        </div>
      )}
    </>
  );
}
