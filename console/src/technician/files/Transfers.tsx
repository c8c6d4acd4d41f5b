import { Progress } from '@mantine/core';
import type { Transfer } from '../../api/technicianTypes';
import { Panel, Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { saySize } from '../visit/sayings';

/** Files on their way, and those that were moved. */
export function Transfers({ list }: { list: Transfer[] }) {
  if (list.length === 0) return null;
  return (
    <Section title="Moved in this session">
      <Panel>
        <ul className="rows">
          {list.map((each) => <li key={each.id} className="tech-transfer"><One transfer={each} /></li>)}
        </ul>
      </Panel>
    </Section>
  );
}

function One({ transfer }: { transfer: Transfer }) {
  const { name, up, moved, size, state, trouble, sha256 } = transfer;
  const done = size === 0 ? 100 : Math.min(100, (moved / size) * 100);
  return (
    <>
      <p className="tech-transfer-name">
        <bdi>{name}</bdi> <span className="quiet small">{up ? 'to the machine' : 'from the machine'}</span>
      </p>
      {state === 'moving' || state === 'begun' ? (
        <>
          <Progress value={done} aria-label={`${name}: ${Math.round(done)} percent`} />
          <p className="small quiet number">{saySize(moved)} of {saySize(size)}</p>
        </>
      ) : state === 'done' ? (
        <p className="small"><State face={{ tone: 'good', icon: 'check', words: `Whole, ${saySize(size)}` }} /> <span className="mono quiet tech-hash" title="SHA-256">{sha256.slice(0, 16)}…</span></p>
      ) : (
        <p className="small"><State face={{ tone: 'bad', icon: 'cross', words: 'Not moved' }} /> {trouble}</p>
      )}
    </>
  );
}
