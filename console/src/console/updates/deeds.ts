import type { Rollout } from '../../api/types';
import type { DeedOf } from './DeedButtons';
import { countFailures } from './sayings';

/** What somebody can do of a rollout, and what each means. Pure. */

export type Verb = 'pause' | 'resume' | 'hold' | 'continue' | 'cancel' | 'offer-again';

export type Deed = DeedOf<Verb>;

const PAUSE: Deed = {
  verb: 'pause',
  button: 'Pause…',
  title: 'Pause this rollout?',
  words: 'No other machine is let in until somebody resumes it. Machines that have begun go on: half an update is worse than a whole one.',
  confirm: 'Pause it',
  done: 'Paused. Nobody new is let in.',
  reason: false,
};
const HOLD: Deed = {
  verb: 'hold',
  button: 'Hold…',
  title: 'Hold this rollout?',
  words: 'As if a machine had failed: nobody new is let in, and Today tells everybody that somebody has to look. Use it when you saw something wrong that no health check sees.',
  confirm: 'Hold it now',
  done: 'Held. Nobody new is let in, and Today says so.',
  reason: true,
  alarm: true,
};
const RESUME: Deed = {
  verb: 'resume',
  button: 'Resume…',
  title: 'Resume this rollout?',
  words: 'It goes on where it was stopped: in the same wave, with the same limits.',
  confirm: 'Resume it',
  done: 'Resumed. It goes on in the same wave.',
  reason: false,
};
const CANCEL: Deed = {
  verb: 'cancel',
  button: 'Cancel…',
  title: 'Cancel this rollout?',
  words: 'It ends for good: no machine is told of this release by it any more. What is installed stays installed, and what has begun may still finish. A new rollout can be made later.',
  confirm: 'Cancel it for good',
  done: 'Cancelled. What is installed stays.',
  reason: true,
  alarm: true,
};
const OFFER_AGAIN: Deed = {
  verb: 'offer-again',
  button: 'Offer again…',
  title: 'Offer it again where it failed?',
  words: 'The machines on which it failed are told of it once more. Each tries again only when the owner has approved the release anew: that is a signature, and happens in the owner’s tool.',
  confirm: 'Offer it again',
  done: 'Offered again. The machines try when the owner has approved it anew.',
  reason: false,
};

function makeGoOn(rollout: Rollout): Deed {
  const failed = countFailures(rollout);
  const forgiven = failed > 0 ? `${failed === 1 ? 'The one failure so far is forgiven: it counts' : `The ${failed} failures so far are forgiven: they count`} no longer. ` : 'Machines that have not answered are not waited for. ';
  return {
    verb: 'continue',
    button: failed > 0 ? 'Go on despite failures…' : 'Go on without waiting…',
    title: failed > 0 ? 'Go on despite failures?' : 'Go on without waiting?',
    words: `${forgiven}The next wave opens at once, so that more machines get this release. Do it when you know the cause, and that it does not concern the others.`,
    confirm: 'Go on, and open the next wave',
    done: 'It goes on. The next wave is open.',
    reason: true,
    alarm: failed > 0,
  };
}

/** What can be done now, the likeliest first. */
export function deedsOf(rollout: Rollout): Deed[] {
  const failed = countFailures(rollout);
  const again = failed > 0 ? [OFFER_AGAIN] : [];
  const mayResume = failed <= rollout.allowed_failures + rollout.forgiven_failures;
  switch (rollout.state) {
    case 'running':
      return [PAUSE, HOLD, makeGoOn(rollout), ...again, CANCEL];
    case 'paused':
    case 'held':
      return [...(mayResume ? [RESUME] : []), makeGoOn(rollout), ...again, CANCEL];
    case 'done':
      return [PAUSE, ...again, CANCEL];
    case 'cancelled':
      return [];
  }
}
