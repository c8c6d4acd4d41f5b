import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { AccessDetail, Tour } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { Age } from '../../shared/time/AsOf';
import { CopyLine } from '../../shared/ui/Copy';
import { Section } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note, State } from '../../shared/ui/State';
import { faceOfSession } from '../../shared/words/faces';
import { AskCommand } from '../sessions/AskCommand';
import { sayEnding, saySession } from '../sessions/sayings';
import { useMachine } from './useMachine';

/** Asking and saying yes happen in two other programs, with two other keys; here both are watched. */
export function TechnicianStep({ tour }: { tour: Tour }) {
  const { id } = useMachine(tour);
  const newest = useQuery({
    queryKey: ['sessions', 'tour', id ?? ''],
    queryFn: () => api.sessions({ device_id: id ?? '', per_page: 1 }),
    enabled: id !== null,
    select: (list) => list.items[0]?.id ?? null,
  });
  const named = newest.data ?? null;
  const session = useQuery({
    queryKey: ['session-of', named ?? ''],
    queryFn: () => api.session_of(named ?? ''),
    enabled: named !== null,
  });
  return (
    <>
      <p className="tour-lead">
        A technician of another company asks to help with your machine, which has no open port for that. Your machine
        lets him in only with the owner’s permission for this one session, and only to what it names.
      </p>
      <ol className="tour-todo">
        <li>
          <p>Be the technician, in a terminal. It asks, and waits for the owner.</p>
          {tour.facts.connect_command ? (
            <CopyLine text={tour.facts.connect_command} label="the command that asks as the technician" />
          ) : (
            <AskCommand device={id ?? undefined} />
          )}
        </li>
        <li>
          <p>Be the owner. Look who asks for what in the owner’s console, page Requests, and say yes there.</p>
          <CopyLine
            text={tour.facts.owner_console_command ?? 'fleetward owner console --owner FOLDER'}
            label="the command that opens the owner’s console"
          />
        </li>
      </ol>
      <Section title="What comes of it">
        <div aria-live="polite">
          {session.data ? (
            <Seen row={session.data} tour={tour} />
          ) : (
            <p className="tour-wait panel panel-pad">
              <span className="tour-pulse" aria-hidden="true" />
              Waiting for somebody who asks
            </p>
          )}
        </div>
      </Section>
    </>
  );
}

function Seen({ row, tour }: { row: AccessDetail; tour: Tour }) {
  const now = useNow();
  return (
    <>
      <div className="panel rows">
        <div className="panel-pad tour-machine">
          <Link href={`/sessions/${row.id}`}>
            <strong>{saySession(row, now)}</strong>
          </Link>
          <State face={faceOfSession(row.state)} />
          <span className="small quiet">
            asked <Age at={row.asked_at} />
          </span>
        </div>
        <div className="panel-pad">
          <p className="small quiet tour-caption">Asked for, and nothing beside it:</p>
          <ul className="tour-scopes">
            {row.scopes.map((scope) => (
              <li key={scope}>{scope}</li>
            ))}
          </ul>
        </div>
        {row.words && (
          <div className="panel-pad">
            <p className="small quiet tour-caption">The same six words stand in the owner’s console and in the technician’s terminal.</p>
            <SixWords words={row.words} />
          </div>
        )}
      </div>
      <Next row={row} tour={tour} />
    </>
  );
}

/** What to do now, by where the session stands. */
function Next({ row, tour }: { row: AccessDetail; tour: Tour }) {
  const session = row.id.slice(0, 16);
  const fill = (command: string | null | undefined, plain: string) => (command ?? plain).replace('SESSION', session);
  if (row.state === 'open') {
    return (
      <ol className="tour-todo tour-todo-third">
        <li>
          <p>Type something in the technician’s terminal, and open the address that it printed: it is the machine’s own web page.</p>
        </li>
        <li>
          <p>End it while he is inside: Stop, in the owner’s console, page Sessions; or by a command.</p>
          <CopyLine text={fill(tour.facts.stop_command, 'fleetward owner stop SESSION')} label="the command that stops the session" />
        </li>
      </ol>
    );
  }
  if (row.state === 'ended') {
    return (
      <>
        <ol className="tour-todo tour-todo-fifth">
          <li>
            <p>See again what he saw. Only the owner can: this server keeps the recording sealed.</p>
            <CopyLine text={fill(tour.facts.replay_command, 'fleetward owner session replay SESSION')} label="the command that replays the session" />
          </li>
        </ol>
        <Note tone="good" icon="check" live>
          <strong>It is over: {sayEnding(row.ended_by)}.</strong>
          <p>Who was inside, when, and with whose permission stands in the record. In step 8 the check names this session.</p>
        </Note>
      </>
    );
  }
  return null;
}
