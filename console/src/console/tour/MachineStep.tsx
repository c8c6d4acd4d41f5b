import { Link } from 'wouter';
import type { Device, Tour } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Facts } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { faceOfConnection, faceOfDevice } from '../../shared/words/faces';
import { isSilent } from '../device/silence';
import { useMachine } from './useMachine';

export function MachineStep({ tour }: { tour: Tour }) {
  const { device, none } = useMachine(tour);
  if (none) {
    return (
      <Empty title="Your machine has not joined yet.">
        <CopyLine text={tour.facts.join_command ?? 'fleetward-agent join STRING --data DIR'} label="the command that joins a machine" />
      </Empty>
    );
  }
  return (
    <>
      <p className="tour-lead">
        It joined the way every machine does, with a key that it made itself. What follows was read on it, not made up.
      </p>
      <Answer of={device}>{(data) => <Machine device={data} />}</Answer>
    </>
  );
}

const NOT_VISIBLE = <span className="quiet">Not visible</span>;
const shown = (value: number | null) => (value === null ? NOT_VISIBLE : sayCount(value));

function Machine({ device }: { device: Device }) {
  return (
    <div className="panel rows">
      <div className="panel-pad tour-machine">
        <Link href={`/devices/${device.id}`} className="truncate" title={device.name}>
          <strong>{device.name}</strong>
        </Link>
        <State face={faceOfDevice(device.state, device.confirmed)} />
        <State face={faceOfConnection(device.connection)} />
      </div>
      <div className="panel-pad">
        {device.software.as_of === null ? (
          <p>Joined. First inventory usually takes 10 s.</p>
        ) : (
          <Facts
            facts={[
              ['System', device.software.os || NOT_VISIBLE],
              ['Kernel', device.software.kernel || NOT_VISIBLE],
              ['Packages', shown(device.software.packages)],
              ['Updates for security', shown(device.software.security)],
              ['Open ports', device.reachability.state === 'shown' ? shown(device.reachability.sockets_total) : NOT_VISIBLE],
              ['Sight', device.sight.words],
            ]}
          />
        )}
      </div>
      <p className="tour-foot">
        <AsOf at={device.software.as_of} subject="software" silent={isSilent(device)} />
        <Link href={`/devices/${device.id}`} className="small">Everything about it</Link>
      </p>
    </div>
  );
}
