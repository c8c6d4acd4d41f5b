import type { Rollout } from '../../api/types';
import { Icon, type IconName } from '../../shared/ui/Icon';
import type { Tone } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { viewStages, type StageView } from './sayings';

const MARKS: Record<StageView['stands'], IconName> = { done: 'check', open: 'wave', waiting: 'clock' };

function toneOf(stage: StageView, rollout: Rollout): Tone {
  if (stage.stands === 'done') return 'good';
  if (stage.stands === 'waiting') return 'quiet';
  return rollout.state === 'held' ? 'bad' : rollout.state === 'running' ? 'accent' : 'warn';
}

/** The waves of a rollout as a bar, each with how far it has come, in words too. */
export function Waves({ rollout }: { rollout: Rollout }) {
  return (
    <ol className="waves" aria-label="Waves">
      {viewStages(rollout).map((stage, at) => (
        <li key={at} className={`wave tone-${toneOf(stage, rollout)} wave-${stage.stands}`}>
          <span className="wave-bar" aria-hidden="true">
            <span style={{ width: `${stage.size === 0 ? (stage.stands === 'done' ? 100 : 0) : (100 * stage.inside) / stage.size}%` }} />
          </span>
          <span className="wave-title">{stage.title}</span>
          <span className="wave-stands">
            <Icon name={MARKS[stage.stands]} size={14} />
            {stage.words}
          </span>
          <span className="small quiet number">
            {stage.size === 0 ? 'nobody more' : `${sayCount(stage.inside)} of ${sayCount(stage.size)} in`}
          </span>
        </li>
      ))}
    </ol>
  );
}
