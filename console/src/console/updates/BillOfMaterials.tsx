import { useState } from 'react';
import { Link } from 'wouter';
import type { ReleaseDetail } from '../../api/types';
import { Section } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';

const FIRST = 10;

/** What the bill of materials has more, less and otherwise than that of the version before. */
export function BillOfMaterials({ detail }: { detail: ReleaseDetail }) {
  const { components, before, release } = detail;
  const changes = detail.added.length + detail.removed.length + detail.changed.length;
  return (
    <Section title="What is in it" aside={components === null ? undefined : <span className="asof">{sayCount(components)} components</span>}>
      {components === null ? (
        <p className="quiet small">It has no bill of materials that can be read here.</p>
      ) : before === '' ? (
        <p className="quiet small">It is the first of {release.product}: there is none before to compare with.</p>
      ) : (
        <div className="panel panel-pad bill">
          <p className="small">
            Compared with <Link href={`/updates/releases/${release.product}/${before}`}>{before}</Link>
            {changes === 0 ? ': the same components, in the same versions.' : ':'}
          </p>
          <Difference title="Added" sign="+" tone="good" rows={detail.added} />
          <Difference title="Changed" sign="~" tone="accent" rows={detail.changed} />
          <Difference title="Removed" sign="−" tone="warn" rows={detail.removed} />
        </div>
      )}
    </Section>
  );
}

function Difference({ title, sign, tone, rows }: { title: string; sign: string; tone: string; rows: string[] }) {
  const [whole, show] = useState(false);
  if (rows.length === 0) return null;
  const shown = whole ? rows : rows.slice(0, FIRST);
  return (
    <div className={`bill-part tone-${tone}`}>
      <h3>
        {title} <span className="quiet number">{sayCount(rows.length)}{rows.length === 200 ? ' or more' : ''}</span>
      </h3>
      <ul>
        {shown.map((row) => (
          <li key={row}>
            <span aria-hidden="true">{sign}</span>
            {row}
          </li>
        ))}
      </ul>
      {rows.length > shown.length && (
        <button type="button" className="text-button small" onClick={() => show(true)}>
          Show {sayCount(rows.length - shown.length)} more
        </button>
      )}
    </div>
  );
}
