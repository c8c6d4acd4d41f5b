import { Link } from 'wouter';
import type { Rollout } from '../../api/types';
import { GROUPS, countGroup, sayGroup } from './sayings';

/** How the machines stand that a rollout let in, by what they signed; each part leads to its list. */
export function Counted({ rollout }: { rollout: Rollout }) {
  const parts = GROUPS.map((group) => ({ ...group, count: countGroup(rollout.counts, group.states) })).filter((group) => group.count > 0);
  if (parts.length === 0) return <p className="small quiet">No machine is let in yet.</p>;
  return (
    <div>
      <div className="share" aria-hidden="true">
        {parts.map((part) => (
          <span key={part.id} className={`tone-${part.tone}`} style={{ flexGrow: part.count }} />
        ))}
      </div>
      <div className="share-legend">
        {parts.map((part) => (
          <Link key={part.id} href={`/updates/rollouts/${rollout.id}?show=${part.id}`}>
            <i className={`tone-${part.tone}`} aria-hidden="true" />
            {sayGroup(part, part.count)}
          </Link>
        ))}
      </div>
    </div>
  );
}
