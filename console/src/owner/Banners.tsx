import { Link } from 'wouter';
import type { OwnerState } from '../api/ownerTypes';
import { Icon } from '../shared/ui/Icon';
import { Words } from '../shared/ui/Words';

/** The first sentence, and the others. */
function splitFirst(words: string): [string, string] {
  const end = words.indexOf('. ');
  return end < 0 ? [words, ''] : [words.slice(0, end + 1), words.slice(end + 2)];
}

/** What the owner must know whatever the page: where the keys lie, and whether the server is there. */
export function Banners({ state }: { state: OwnerState }) {
  const [first, rest] = splitFirst(state.same_host_words);
  return (
    <>
      {state.recoveries.map((recovery) => (
        <div key={recovery.version + recovery.announced_at} className="strip tone-bad" role="alert">
          <Icon name="alert" />
          <p>
            <strong>A recovery was announced: {recovery.people.join(' and ')} would decide over every machine.</strong> If
            nobody of yours asked for it, <Link href="/policy">refuse it now</Link>.
          </p>
        </div>
      ))}
      {state.same_host && (
        <div className="strip tone-warn">
          <Icon name="alert" />
          <p>
            <strong>{first}</strong> <Words text={rest} />
          </p>
        </div>
      )}
      {!state.server.reachable && (
        <div className="strip tone-quiet" role="status">
          <Icon name="hidden" />
          <p>
            <strong>The server is not in reach.</strong> <Words text={state.server.words} />
          </p>
        </div>
      )}
    </>
  );
}
