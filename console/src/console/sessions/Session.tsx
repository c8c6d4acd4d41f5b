import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from 'wouter';
import { api } from '../../api/client';
import type { AccessDetail } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { Age } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { BreakGlass } from '../../shared/ui/BreakGlass';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note, State } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { faceOfSession } from '../../shared/words/faces';
import { GoOnCommand } from './AskCommand';
import { Steps } from './Steps';
import { WhatChanged } from './WhatChanged';
import { isOverdue, sayBytes, sayEnding, sayFor, saySession } from './sayings';
import './sessions.css';

/** One session: who was inside, when, with whose permission, doing what. */
export default function Session() {
  const { id = '' } = useParams<{ id: string }>();
  const session = useQuery({ queryKey: ['session-of', id], queryFn: () => api.session_of(id) });
  return <Answer of={session} lines={10} title="Session">{(row) => <SessionPage row={row} key={row.id} />}</Answer>;
}

function SessionPage({ row }: { row: AccessDetail }) {
  const now = useNow();
  return (
    <Page
      title={`Session on ${row.device_name}`}
      above={
        <Link href="/sessions" className="back">
          <Icon name="left" />
          Sessions
        </Link>
      }
      heading={<span className="device-title">{saySession(row, now)}</span>}
      lead={<Lead row={row} />}
    >
      <Now row={row} now={now} />
      <WhatChanged row={row} />
      <div className="session-grid">
        <div>
          <Section title="What happened">
            <Steps steps={row.steps} />
          </Section>
          {row.session && <Words row={row} />}
        </div>
        <div>
          <Asked row={row} />
          {row.session && <Recording row={row} />}
        </div>
      </div>
      <Papers row={row} />
    </Page>
  );
}

function Lead({ row }: { row: AccessDetail }) {
  return (
    <span className="who-states">
      <BreakGlass of={row} />
      <State face={faceOfSession(row.state)} />
      <span className="small">
        asked <Age at={row.asked_at} />
      </span>
      <Link href={`/devices/${row.device_id}`} className="small">
        {row.device_name}
      </Link>
      {row.site && <span className="small">{row.site}</span>}
    </span>
  );
}

/** What can be done now, and by whom: never here. */
function Now({ row, now }: { row: AccessDetail; now: number }) {
  const short = row.id.slice(0, 12);
  if (row.state === 'offered') {
    return (
      <Note tone="warn" icon="person">
        <strong>It waits for the owner.</strong>
        <p>
          Answer in the owner’s console, on the owner’s own computer, or there in a terminal. This page cannot say yes:
          the server holds no key that the device obeys.
        </p>
        <div className="session-commands">
          <CopyLine text={`fleetward owner approve ${short}`} label="the command that says yes" />
          <CopyLine text={`fleetward owner deny ${short}`} label="the command that says no" />
        </div>
        <GoOn row={row} />
      </Note>
    );
  }
  if (row.state === 'asked') {
    return (
      <Note tone="quiet" icon="clock">
        <strong>The device has not answered.</strong>
        <p>It is asked again when it connects. A request that is older than a week is not brought any more: ask again.</p>
        <GoOn row={row} />
      </Note>
    );
  }
  if (row.state === 'denied') {
    return (
      <Note tone="bad" icon="block">
        <strong>The device said no.</strong>
        <p>{row.denied_words || sayEnding(row.ended_by)}</p>
      </Note>
    );
  }
  if (isOverdue(row, now)) {
    return (
      <Note tone="warn" icon="clock">
        <strong>Its time is over, and the device has not said how it ended.</strong>
        <p>A device ends a session by its own clock, also without a network. It says so when it is heard again.</p>
      </Note>
    );
  }
  if (row.break_glass && row.state === 'granted') {
    return (
      <Note tone="bad" icon="alert">
        <strong>BREAK-GLASS: it waits for a press at the device.</strong>
        <p>Two people said yes in place of the usual approvers. It opens when somebody presses at the device’s own panel within 10 minutes, where these six words are shown too.</p>
      </Note>
    );
  }
  if (row.state === 'open' || row.state === 'granted') {
    return (
      <Note tone="accent" icon="session">
        <strong>{row.state === 'open' ? 'Somebody is inside now.' : 'It may begin at any moment.'}</strong>
        <p>Only the owner can look in or stop it, on the owner’s own computer:</p>
        <div className="session-commands">
          <CopyLine text={`fleetward owner session watch ${short}`} label="the command that watches" />
          <CopyLine text={`fleetward owner stop ${short}`} label="the command that stops it" />
        </div>
      </Note>
    );
  }
  return null;
}

/** For who asked: his page is served by his own computer, never from here. */
function GoOn({ row }: { row: AccessDetail }) {
  return (
    <>
      <p className="session-next">Who asked waits for it on his own computer:</p>
      <div className="session-commands">
        <GoOnCommand device={row.device_id} request={row.id.slice(0, 16)} />
      </div>
    </>
  );
}

function Asked({ row }: { row: AccessDetail }) {
  const ended = row.state === 'ended' ? `${sayEnding(row.ended_by)}${row.ended_who ? ` (${row.ended_who})` : ''}` : null;
  const facts: [string, React.ReactNode][] = [
    ['Reason', `“${row.reason}”`],
    ['Case', row.case || 'None named'],
    ['Asked for', <ul key="scopes" className="session-scopes">{row.scopes.map((scope) => <li key={scope}>{scope}</li>)}</ul>],
    ['For', `${sayFor(row.seconds)} at most`],
  ];
  if (row.people.length > 0) facts.push([row.standing ? 'Allowed ahead by' : 'Let in by', row.people.join(', ')]);
  if (row.watched) facts.push(['Watched', 'It ends when nobody watches']);
  if (ended) facts.push(['Ended because', ended]);
  if (row.state === 'ended') facts.push(['Typed and sent', `${sayBytes(row.bytes_in)} in, ${sayBytes(row.bytes_out)} out`]);
  if (row.sandbox) {
    facts.push(['Kept apart', row.sandbox === 'none' ? 'By the user’s rights alone: this device has no sandbox' : 'In a sandbox']);
  }
  return (
    <Section title="What it was about">
      <div className="panel panel-pad">
        <Facts facts={facts} />
      </div>
    </Section>
  );
}

function Words({ row }: { row: AccessDetail }) {
  return (
    <Section title="Six words of the permission">
      <div className="panel panel-pad session-words">
        <SixWords words={row.words} />
        <p className="quiet small">
          The owner and the technician see the same words on their own computers. Where they differ, somebody changed
          what was signed.
        </p>
      </div>
    </Section>
  );
}

function Recording({ row }: { row: AccessDetail }) {
  const short = row.id.slice(0, 12);
  return (
    <Section title="Recording">
      <div className="panel panel-pad session-recording">
        {row.recording_bytes === 0 ? (
          <p>Nothing has come yet.</p>
        ) : (
          <p>
            <strong className="number">{sayBytes(row.recording_bytes)}</strong>{' '}
            {row.recording_done ? 'are here, and that is all of it.' : 'are here so far.'}
          </p>
        )}
        <p className="quiet small">
          It is sealed to the owner: this server keeps it and cannot read it. Who fetches it is written down. The owner
          plays it with:
        </p>
        <CopyLine text={`fleetward owner session replay ${short}`} label="the command that plays the recording" />
      </div>
    </Section>
  );
}

/** What was signed, by its hashes: for whoever compares them with the record. */
function Papers({ row }: { row: AccessDetail }) {
  const has = (name: string, envelope: string): string | null => (envelope ? name : null);
  const papers = [
    has('request', row.request), has('offer', row.offer), has('grant', row.grant),
    has('permission ahead', row.standing_document), has('entry', row.entry), has('denial', row.denial),
    has('receipt', row.receipt),
  ].filter((name) => name !== null);
  return (
    <Section title="Proof" aside={<Link href="/proof" className="small">How to check it offline</Link>}>
      <div className="panel panel-pad">
        <Facts
          facts={[
            ['Request', <span key="id" className="mono">{row.id}</span>],
            ['Permission', row.session ? <span key="s" className="mono">{row.session}</span> : 'None yet'],
            ['Asked with key', <span key="k" className="mono">{row.requester}</span>],
            ['Signed papers in the record', `${sayCount(papers.length)}: ${papers.join(', ')}`],
          ]}
        />
      </div>
    </Section>
  );
}
