import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { PendingDevice, Tour } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { SixWords } from '../../shared/ui/SixWords';
import { Note } from '../../shared/ui/State';

/** Confirming is the owner's signature, so it happens in the other program; here it is watched. */
export function LetInStep({ tour }: { tour: Tour }) {
  const pending = useQuery({ queryKey: ['pending'], queryFn: api.pending });
  const wanted = tour.facts.waiting_device_id ?? null;
  return (
    <>
      <p className="tour-lead">
        A machine waits. Only the owner can let it in, with a key that this server does not have, after comparing
        six words on the machine’s own panel with the owner’s own screen.
      </p>
      <Answer of={pending}>
        {(list) => {
          const waiting = list.items.find((item) => item.id === wanted) ?? (wanted === null ? list.items[0] : undefined);
          return waiting ? <Waits device={waiting} tour={tour} /> : <NoneWaits tour={tour} />;
        }}
      </Answer>
    </>
  );
}

function Waits({ device, tour }: { device: PendingDevice; tour: Tour }) {
  return (
    <>
      <div className="panel rows">
        <div className="panel-pad tour-machine">
          <Link href={`/devices/${device.id}`} className="truncate" title={device.name_suggested}>
            <strong>{device.name_suggested}</strong>
          </Link>
          <span className="small quiet truncate">{device.site}</span>
          <span className="small quiet">joined <Age at={device.joined_at} /></span>
        </div>
        <div className="panel-pad">
          <p className="small quiet tour-caption">What this server says its words are. Compare on the owner’s screen, not here.</p>
          <SixWords words={device.words} />
        </div>
      </div>
      <ol className="tour-todo">
        <li>
          <p>See the words on the machine’s own panel:</p>
          <CopyLine
            text={tour.facts.panel_command ?? 'fleetward-agent status --data DIR'}
            label="the command that shows the machine’s own words"
          />
        </li>
        <li>
          <p>Open the owner’s console and compare them on its page Waiting. Confirm it there.</p>
          <CopyLine
            text={tour.facts.owner_console_command ?? 'fleetward owner console --owner FOLDER'}
            label="the command that opens the owner’s console"
          />
        </li>
      </ol>
    </>
  );
}

function NoneWaits({ tour }: { tour: Tour }) {
  const id = tour.facts.waiting_device_id;
  return (
    <Note tone="good" icon="check" live>
      <strong>{id ? 'The owner let it in.' : 'No machine waits.'}</strong>
      <p>
        {id ? (
          <>
            <Link href={`/devices/${id}`}>Look at it</Link>. Its confirmation is in the record.
          </>
        ) : (
          'Those that joined are all confirmed by the owner.'
        )}
      </p>
    </Note>
  );
}
