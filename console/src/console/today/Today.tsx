import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { Today as TodayData } from '../../api/types';
import { useLastVisit } from '../../shared/live/lastVisit';
import { Age, AsOf } from '../../shared/time/AsOf';
import { parseTime, sayClock } from '../../shared/time/time';
import { Answer, Empty } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Page, Section } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';
import { State } from '../../shared/ui/State';
import { faceOfRecord } from '../../shared/words/faces';
import { sayEntry } from '../../shared/words/words';
import { CardList } from './CardList';
import { Counts } from './Counts';
import { GoalQuestion } from './GoalQuestion';
import { orderCards, type Goal } from './goal';
import { useGoal } from './useGoal';
import './today.css';

/** The home page answers one question: does anything need me? */
export function Today() {
  const today = useQuery({ queryKey: ['today'], queryFn: api.today });
  return <Answer of={today} title="Today">{(data) => <TodayPage today={data} />}</Answer>;
}

function TodayPage({ today }: { today: TodayData }) {
  const [goal, setGoal] = useGoal();
  const record = <RecordLine key="record" record={today.record} />;
  const changes = <Changes key="changes" today={today} />;
  return (
    <Page
      title="Today"
      heading={today.counts.total === 0 ? 'No devices yet.' : today.sentence}
      aside={<AsOf at={today.as_of} subject="page" label="checked" />}
    >
      {today.counts.total > 0 && <Counts counts={today.counts} />}
      {goal === null && today.counts.total > 0 && <GoalQuestion onGoal={setGoal} />}
      <div className="today-grid">
        <div className="today-main">
          <NeedsYou today={today} goal={goal ?? null} />
        </div>
        <div className="today-side">
          {today.waiting.length > 0 && <WaitingOnOthers today={today} />}
          {goal === 'comply' ? [record, changes] : [changes, record]}
        </div>
      </div>
    </Page>
  );
}

function NeedsYou({ today, goal }: { today: TodayData; goal: Goal | null }) {
  const { counts } = today;
  if (counts.total === 0) return <NoDevices />;
  if (today.cards.length > 0) {
    return (
      <Section title="What needs you">
        <CardList cards={orderCards(today.cards, goal).slice(0, 7)} label="What needs you" />
      </Section>
    );
  }
  const at = parseTime(today.as_of);
  const reported = Math.max(0, counts.total - counts.silent - counts.waiting);
  return (
    <Section title="What needs you">
      <Empty
        title={`Nothing needs you. ${at === null ? '' : `Last checked ${sayClock(at)}. `}${sayCount(reported)} of ${sayCount(counts.total)} reported.`}
      />
    </Section>
  );
}

function NoDevices() {
  const tour = useQuery({ queryKey: ['tour'], queryFn: api.tour });
  const command = tour.data?.facts.join_command ?? 'fleetward-agent join STRING --data DIR';
  return (
    <Empty title="Let the first one join: run this on the machine.">
      <CopyLine text={command} label="the command that joins a machine" />
      <p className="quiet small">
        The join string comes from the owner: the owner’s console, page Invite, or <code>fleetward owner invite</code>.
      </p>
    </Empty>
  );
}

function WaitingOnOthers({ today }: { today: TodayData }) {
  return (
    <Section title="Waiting on others">
      <ul className="panel rows feed">
        {today.waiting.map((item) => (
          <li key={item.id}>
            <Link href={item.id === 'unconfirmed' ? '/fleet?need=unconfirmed' : `/devices/${item.id}`} className="feed-link">
              {item.title}
            </Link>
            <span className="feed-meta">
              <span className="truncate" title={item.where}>{item.where}</span>
              <Age at={item.since} />
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Changes({ today }: { today: TodayData }) {
  const last = parseTime(useLastVisit('today'));
  const isNew = (at: string): boolean => last !== null && (parseTime(at) ?? 0) > last;
  const shown = today.changes.slice(0, 8);
  return (
    <Section title="Last 24 hours" aside={<Link href="/timeline" className="small">Timeline</Link>}>
      {shown.length === 0 ? (
        <p className="quiet small">Nothing changed.</p>
      ) : (
        <ul className="panel rows feed">
          {shown.map((change) => (
            <li key={`${change.at}${change.device_id}${change.words}`}>
              <span>
                {isNew(change.at) && (
                  <>
                    <span className="feed-new" aria-hidden="true" />
                    <span className="visually-hidden">New: </span>
                  </>
                )}
                {change.severity === 'critical' ? (
                  <strong className="feed-critical">{sayEntry(change.kind, change.words)}</strong>
                ) : (
                  sayEntry(change.kind, change.words)
                )}
              </span>
              <span className="feed-meta">
                {change.device_id && (
                  <Link href={`/devices/${change.device_id}`} className="truncate" title={change.device_name}>
                    {change.device_name || change.device_id}
                  </Link>
                )}
                <Age at={change.at} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function RecordLine({ record }: { record: TodayData['record'] }) {
  return (
    <Section title="The record" aside={<Link href="/proof" className="small">Proof</Link>}>
      <div className="panel panel-pad">
        <State face={faceOfRecord(record.state)} />
        <p className="small">{record.words}</p>
        <AsOf at={record.as_of} subject="record" />
      </div>
    </Section>
  );
}
