import { Link } from 'wouter';
import type { Rollout } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { State } from '../../shared/ui/State';
import { Causes } from './Causes';
import { Counted } from './Counted';
import { RolloutActions } from './RolloutActions';
import { Waves } from './Waves';
import { faceOfRollout, saySoak, sayUsed } from './sayings';

/** A rollout on the page of all: how far it has come, what it may reach, and what can be done. */
export function RolloutPanel({ rollout }: { rollout: Rollout }) {
  const title = `rollout-${rollout.id.slice(0, 12)}`;
  return (
    <article className="panel rollout" aria-labelledby={title}>
      <div className="rollout-head">
        <h3 id={title}>
          <Link href={`/updates/rollouts/${rollout.id}`}>
            {rollout.product} {rollout.version}
          </Link>
        </h3>
        <State face={faceOfRollout(rollout.state)} />
        <span className="small quiet">
          to {rollout.selector}, made by {rollout.created_by} <Age at={rollout.created_at} />
        </span>
      </div>
      <RolloutBody rollout={rollout} />
      <RolloutActions rollout={rollout} />
    </article>
  );
}

/** What both pages say of a rollout. */
export function RolloutBody({ rollout }: { rollout: Rollout }) {
  return (
    <>
      {rollout.words && <p className={rollout.state === 'held' ? 'tone-bad toned rollout-why' : 'rollout-why'}>{sayWhy(rollout)}</p>}
      <Waves rollout={rollout} />
      <div className="rollout-words">
        <p>
          <strong>{rollout.promise_words}</strong> {sayUsed(rollout)}
        </p>
        <p className="small quiet">
          {rollout.waits && `${rollout.waits} `}
          {rollout.stages.length > 1 && `Before each next wave: ${saySoak(rollout.soak_seconds)}. `}
          {sayAllowed(rollout)}
        </p>
      </div>
      <Counted rollout={rollout} />
      {rollout.failures.length > 0 && (
        <Causes
          label={`Failures of ${rollout.product} ${rollout.version} by cause`}
          causes={rollout.failures.map((each) => ({
            ...each,
            href: `/updates/rollouts/${rollout.id}?show=failed&q=${encodeURIComponent(each.cause)}`,
          }))}
        />
      )}
    </>
  );
}

function sayWhy(rollout: Rollout): string {
  if (rollout.state === 'held') return `Held: ${rollout.words}`;
  if (rollout.state === 'paused') return `Paused: ${rollout.words}`;
  return rollout.words;
}

function sayAllowed({ allowed_failures, forgiven_failures }: Rollout): string {
  const allowed = allowed_failures === 0 ? 'The first failure holds it.' : `More than ${allowed_failures} ${allowed_failures === 1 ? 'failure' : 'failures'} hold it.`;
  return forgiven_failures === 0 ? allowed : `${allowed} ${forgiven_failures} more ${forgiven_failures === 1 ? 'was' : 'were'} forgiven by somebody who went on.`;
}
