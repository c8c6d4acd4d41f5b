import { Link } from 'wouter';
import type { Given, Visit } from '../../api/technicianTypes';
import { Age } from '../../shared/time/AsOf';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon, type IconName } from '../../shared/ui/Icon';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note, State } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { Leave } from './Leave';
import { faceOfVisit, sayAnyOf, sayEnd, sayMinutes, sayPeople } from './sayings';

/** Where the visit stands: asked, allowed, open, over; by whom, and with which six words. */
export function Overview({ visit }: { visit: Visit }) {
  const headings: Record<Visit['phase'], string> = {
    waiting: `You ask to enter ${visit.machine}`,
    opening: `${visit.machine} opens`,
    open: `You are inside ${visit.machine}`,
    over: `Your session at ${visit.machine} is over`,
  };
  return (
    <Page title="Session" heading={headings[visit.phase]} lead={visit.phase === 'open' ? 'What you do here is recorded by the machine, for its owner.' : <State face={faceOfVisit(visit)} />}
      aside={visit.phase === 'waiting' ? <Leave machine={visit.machine} waiting /> : undefined}>
      {visit.phase === 'over' && <Over visit={visit} />}
      {visit.unreachable !== '' && visit.phase === 'waiting' && (
        <Note tone="warn" icon="alert" live>
          <strong>The server does not answer.</strong>
          <p><Words text={visit.unreachable} /> The request stands; this page goes on asking.</p>
        </Note>
      )}
      {(visit.phase === 'waiting' || visit.phase === 'opening') && <Steps visit={visit} />}
      {visit.phase === 'open' && <GivenDoors visit={visit} />}
      {visit.six_words !== '' && (
        <Section title="Six words">
          <SixWords words={visit.six_words} />
          <p className="small quiet tech-under">
            The owner saw the same six before signing, and the machine shows them. If yours differ, leave: it is another session.
          </p>
        </Section>
      )}
      <Section title="What you asked for">
        <div className="panel panel-pad">
          <Facts
            facts={[
              ['Machine', `${visit.machine}${visit.site ? `, ${visit.site}` : ''}`],
              ['You', visit.org ? `${visit.person} of ${visit.org}` : visit.person],
              ['For', visit.asked.join('; ')],
              ['Because', visit.reason],
              ['Case', visit.case || 'none'],
              ['At most', sayMinutes(visit.seconds)],
              ['Asked', <Age key="asked" at={visit.asked_at} />],
              ['Request', <span key="request" className="mono small">{visit.request.slice(0, 16)}</span>],
              ...(visit.people.length > 0 ? [['Allowed by', sayPeople(visit.people)] as [string, string]] : []),
              ...(visit.watched ? [['Watched', 'It ends when nobody watches for 15 seconds'] as [string, string]] : []),
            ]}
          />
        </div>
      </Section>
    </Page>
  );
}

function Steps({ visit }: { visit: Visit }) {
  const ready = visit.machine_ready;
  const allowed = visit.phase === 'opening';
  const who = sayAnyOf(visit.approvers);
  const steps: [boolean, string, string][] = [
    [true, 'You asked', 'Your request is signed with your own key. The server only carries it.'],
    [ready, ready ? `${visit.machine} is ready` : `Waiting for ${visit.machine}`, 'It checks your request by its owner’s rules, and makes a key for this one session.'],
    [allowed, allowed ? `Allowed by ${sayPeople(visit.people)}` : 'Waiting for the owner’s yes',
      `Asked: ${who}.${visit.approvers_needed > 1 ? ` It takes ${visit.approvers_needed} of them.` : ''} Nobody else can say yes, and the yes is to these very things. The six words appear here with it.`],
    [false, 'You are in', 'The machine opens what was allowed, records it, and ends it in time.'],
  ];
  const now = steps.findIndex(([done]) => !done);
  return (
    <ol className="panel tech-steps" aria-label="What has happened, and what is waited for">
      {steps.map(([done, title, words], at) => (
        <li key={at} className={done ? 'tone-good' : at === now ? 'tone-accent' : 'tone-quiet'} aria-current={at === now ? 'step' : undefined}>
          <Icon name={done ? 'check' : at === now ? 'clock' : 'empty'} size={18} />
          <div>
            <strong>{title}</strong>
            <p className="small quiet">{words}</p>
          </div>
        </li>
      ))}
    </ol>
  );
}

const DOORS: Record<string, { href: string; icon: IconName; verb: string }> = {
  terminal: { href: '/terminal', icon: 'session', verb: 'Open a terminal' },
  root: { href: '/terminal', icon: 'session', verb: 'Open a terminal as root' },
  tcp: { href: '/page', icon: 'fleet', verb: 'Open its page' },
  files: { href: '/files', icon: 'download', verb: 'See its files' },
  logs: { href: '/logs', icon: 'timeline', verb: 'Read its logs' },
};

function GivenDoors({ visit }: { visit: Visit }) {
  return (
    <ul className="tech-doors" aria-label="What you were given">
      {visit.given.map((scope) => (
        <li key={scope.place}><Door scope={scope} /></li>
      ))}
    </ul>
  );
}

function Door({ scope }: { scope: Given }) {
  const door = DOORS[scope.kind];
  if (!door) {
    return (
      <div className="panel tech-door">
        <Icon name="access" size={20} />
        <span><strong>{scope.words}</strong><small>By the command line: fleetward connect</small></span>
      </div>
    );
  }
  const verb = scope.kind === 'tcp' && scope.mode !== 'http' ? 'See its local address' : door.verb;
  return (
    <Link href={door.href} className="panel tech-door">
      <Icon name={door.icon} size={20} />
      <span><strong>{verb}</strong><small>{scope.words}</small></span>
    </Link>
  );
}

function Over({ visit }: { visit: Visit }) {
  return (
    <div className="tech-over">
      <Note tone={visit.failed ? 'bad' : 'quiet'} icon={visit.failed ? 'alert' : 'check'} live>
        <strong>{sayEnd(visit)}</strong>
        {visit.over_words !== '' && !sayEnd(visit).includes('because') && visit.over_words !== sayEnd(visit) && <p><Words text={visit.over_words} /></p>}
        {visit.over_at && <p className="small quiet">The machine signed its end <Age at={visit.over_at} />.</p>}
      </Note>
      <p className="small quiet">Nothing of the machine can be reached from here any more. To ask again:</p>
      <CopyLine text={`fleetward connect ${visit.device_id} --browser --terminal --reason "WHY"`} label="the command that asks for another session" />
    </div>
  );
}
