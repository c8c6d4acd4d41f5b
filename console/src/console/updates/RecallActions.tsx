import { api } from '../../api/client';
import type { Recall } from '../../api/types';
import { DeedButtons } from './DeedButtons';
import { changeCommand, deedsOf } from './recall';

const MAX_REASON = 500;

/** What somebody can do of a recall. */
export function RecallActions({ recall }: { recall: Recall }) {
  return (
    <DeedButtons
      deeds={deedsOf(recall)}
      first="acknowledge"
      name={recall.title}
      mostReason={MAX_REASON}
      change={(verb, reason) => api.changeRecall(recall.id, verb, reason)}
      command={(verb, reason) => changeCommand(verb, recall.id, reason)}
    />
  );
}
