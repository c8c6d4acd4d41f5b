import type { Visit } from '../../api/technicianTypes';
import { Icon } from '../../shared/ui/Icon';
import { Leave } from './Leave';
import { sayEnd, sayLeft, sayPeople } from './sayings';
import { useLeft } from './useLeft';

const SOON_SECONDS = 60;

/** On every page: whether one is inside, for how long, by whose yes; and the way out. */
export function Inside({ visit, answeredAt }: { visit: Visit; answeredAt: number }) {
  const left = useLeft(visit, answeredAt);
  if (visit.phase === 'over') {
    return (
      <div className="strip tone-quiet" role="status">
        <Icon name="check" />
        <p>
          <strong>The session is over.</strong> {sayEnd(visit)}
        </p>
      </div>
    );
  }
  if (visit.phase !== 'open') return null;
  return (
    <div className={`strip tech-inside ${left < SOON_SECONDS ? 'tone-warn' : 'tone-accent'}`}>
      <Icon name="wave" />
      <p>
        <strong>You are inside {visit.machine}.</strong> <span className="number tech-left" role="timer">{sayLeft(left)} left</span>, allowed
        by {sayPeople(visit.people)}.
      </p>
      <Leave machine={visit.machine} />
    </div>
  );
}
