import { Popover } from '@mantine/core';
import { CopyLine } from '../../shared/ui/Copy';

/** How somebody makes the rest of a device visible. */
export function SeeAll() {
  return (
    <Popover width={340} position="bottom" shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <button type="button" className="text-button">
          How to see all
        </button>
      </Popover.Target>
      <Popover.Dropdown>
        <p className="small">
          The agent runs without root there, so it does not see other users’ programs. Whoever administers the
          machine can install it as a service, which sees all and still opens no port:
        </p>
        <div className="see-all">
          <CopyLine text="sudo fleetward-agent install" label="the command that installs the agent as a service" />
        </div>
      </Popover.Dropdown>
    </Popover>
  );
}
