import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { DeviceUpdates as DeviceUpdatesData, ProductOnDevice, UpdateReport } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { parseTime, sayClock, sayDay } from '../../shared/time/time';
import { useNow } from '../../shared/time/now';
import { Answer } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Panel, Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { Pager } from '../../shared/ui/Table';
import { faceOfOutcome, sayDays } from './sayings';
import './updates.css';

const PER_PAGE = 10;

/** What runs on a machine and how it came there: what, when, how it ended, and why, as it signed. */
export function DeviceUpdates({ id }: { id: string }) {
  const [page, setPage] = useState(1);
  const updates = useQuery({
    queryKey: ['device', id, 'updates', page],
    queryFn: () => api.deviceUpdates(id, { page, per_page: PER_PAGE }),
    placeholderData: keepPreviousData,
  });
  return (
    <Section title="Software" aside={<Link href="/updates" className="small">Updates of all</Link>}>
      <Answer of={updates} lines={3}>
        {(data) => <History data={data} onPage={setPage} />}
      </Answer>
    </Section>
  );
}

function History({ data, onPage }: { data: DeviceUpdatesData; onPage: (page: number) => void }) {
  if (data.products.length === 0 && data.total === 0) {
    return (
      <p className="quiet small">
        It has reported no release yet.{' '}
        {data.told.length > 0 ? <Told data={data} /> : 'It installs what its maker signed and its owner approved for it.'}
      </p>
    );
  }
  return (
    <Panel>
      <ul className="rows device-products" aria-label="What runs on it">
        {data.products.map((product) => (
          <li key={product.product}>
            <Product product={product} />
          </li>
        ))}
      </ul>
      {data.told.length > 0 && (
        <p className="pair-foot small quiet">
          <Told data={data} />
        </p>
      )}
      {data.total > 0 && (
        <>
          <h3 className="device-reports-title">Version history</h3>
          <ol className="rows device-reports">
            {data.items.map((report) => (
              <Report key={report.id} report={report} />
            ))}
          </ol>
          <Pager page={data.page} perPage={data.per_page} total={data.total} noun={data.total === 1 ? 'report' : 'reports'} onPage={onPage} />
        </>
      )}
      {data.counters && (
        <p className="pair-foot small device-counters">
          <Counters kept={data.counters} />
        </p>
      )}
      <p className="pair-foot small quiet">Each line is a report that the machine signed with its identity key. That is what it says, and not what is so.</p>
    </Panel>
  );
}

function Told({ data }: { data: DeviceUpdatesData }) {
  return (
    <>
      This server tells it of {data.told.join(', ')}
      {data.told_at && <>, since <Age at={data.told_at} /></>}.
    </>
  );
}

/** Where the machine keeps what bars older releases, as it says. */
function Counters({ kept }: { kept: NonNullable<DeviceUpdatesData['counters']> }) {
  if (kept === 'tpm') return <State face={{ tone: 'good', icon: 'check', words: 'Older releases are barred by a counter in its TPM' }} />;
  if (kept === 'doubted') {
    return (
      <State
        face={{ tone: 'bad', icon: 'alert', words: 'Which releases it has had is in doubt: an older copy of its disk, or its TPM. It installs only what the owner approves by name from now on' }}
      />
    );
  }
  return <State face={{ tone: 'quiet', icon: 'half', words: 'Older releases are barred by a counter in a file: weak against an older copy of its disk' }} />;
}

function Product({ product }: { product: ProductOnDevice }) {
  return (
    <div className="device-product">
      <p>
        <strong>{product.product}</strong>{' '}
        {product.version ? (
          <>
            <Link href={`/updates/releases/${product.product}/${product.version}`}>{product.version}</Link>
            {product.since && <span className="small quiet"> since <Age at={product.since} /></span>}
          </>
        ) : (
          <span className="quiet">runs none that it named</span>
        )}
      </p>
      <Stand product={product} />
    </div>
  );
}

function Stand({ product }: { product: ProductOnDevice }) {
  const { days_behind: days, newest, version } = product;
  if (days === null) return <State face={{ tone: 'quiet', icon: 'empty', words: 'Nothing is approved for it' }} />;
  if (newest === version || newest === '') return <State face={{ tone: 'good', icon: 'check', words: 'The newest approved' }} />;
  return <State face={{ tone: 'warn', icon: 'clock', words: `${newest} approved, ${sayDays(days)} behind` }} />;
}

function Report({ report }: { report: UpdateReport }) {
  const now = useNow();
  const at = parseTime(report.said_at);
  const face = faceOfOutcome(report.outcome);
  const bad = report.findings.filter((finding) => !finding.good);
  return (
    <li className="device-report">
      <div className="device-report-what">
        <p>
          <Link href={`/updates/releases/${report.product}/${report.version}`}>
            {report.product} {report.version}
          </Link>
          {report.attempt > 1 && <span className="small quiet"> attempt {report.attempt}</span>}
        </p>
        {face && <State face={face} />}
        {report.simulated && <span className="simulated">simulated</span>}
      </div>
      <div className="device-report-why small">
        {report.words && <p>“{report.words}”</p>}
        {report.rule && <p className="quiet">By rule: {report.rule}</p>}
        {report.findings.length > 0 && (
          <ul className="device-findings" aria-label="Health checks">
            {(bad.length > 0 ? bad : report.findings).map((finding) => (
              <li key={finding.check} className={finding.good ? 'tone-good' : 'tone-bad'}>
                <Icon name={finding.good ? 'check' : 'cross'} size={14} />
                <span>
                  {finding.check}
                  {finding.good ? ' held' : ' failed'}
                  {finding.words && finding.words !== finding.check && `: ${finding.words}`}
                </span>
              </li>
            ))}
          </ul>
        )}
      </div>
      <p className="device-report-when small quiet">
        {at !== null && <span className="number">{sayDay(at, now)}, {sayClock(at)}</span>} <Age at={report.said_at} />
      </p>
    </li>
  );
}
