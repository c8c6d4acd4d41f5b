import type { OwnerState } from '../api/ownerTypes';
import { Icon } from '../shared/ui/Icon';

/** What the owner must know whatever the page: where the keys lie, and whether the server is there. */
export function Banners({ state }: { state: OwnerState }) {
  return (
    <>
      {state.same_host && (
        <div className="strip tone-warn">
          <Icon name="alert" />
          <p>
            <strong>The owner’s keys lie on the server’s own computer.</strong> {state.same_host_words}
          </p>
        </div>
      )}
      {!state.server.reachable && (
        <div className="strip tone-quiet" role="status">
          <Icon name="hidden" />
          <p>
            <strong>The server is not in reach.</strong> {state.server.words}
          </p>
        </div>
      )}
    </>
  );
}
