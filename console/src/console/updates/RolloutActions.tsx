import { api } from '../../api/client';
import type { Rollout } from '../../api/types';
import { changeCommand } from './commands';
import { deedsOf } from './deeds';
import { DeedButtons } from './DeedButtons';

const MAX_REASON = 200;

/** What somebody can do of a rollout. */
export function RolloutActions({ rollout }: { rollout: Rollout }) {
  return (
    <DeedButtons
      deeds={deedsOf(rollout)}
      isNamed
      name={`${rollout.product} ${rollout.version}`}
      mostReason={MAX_REASON}
      change={(verb, reason) => api.changeRollout(rollout.id, verb, reason)}
      command={(verb, reason) => changeCommand(verb, rollout.id, reason)}
    />
  );
}
