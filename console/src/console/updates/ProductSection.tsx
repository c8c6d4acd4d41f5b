import { Link } from 'wouter';
import type { ProductOverview, ReleaseRow } from '../../api/types';
import { useNow } from '../../shared/time/now';
import { parseTime } from '../../shared/time/time';
import { Panel, Section, Truncate } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { Table, sayCount, type Column } from '../../shared/ui/Table';
import { faceOfSupport, pointsOf, sayDays, sayFresh, sayMachines, sayPercent } from './sayings';

type Behind = ProductOverview['behind'][number];

const COLUMNS: Column<Behind>[] = [
  { id: 'name', title: 'Machine', width: 'minmax(0, 1.4fr)', cell: (row) => <Link href={`/devices/${row.device_id}`} className="truncate" title={row.name}>{row.name || row.device_id}</Link> },
  { id: 'site', title: 'Site', width: 'minmax(0, 1.2fr)', cell: (row) => <Truncate text={row.site} /> },
  { id: 'version', title: 'Runs', width: 'minmax(0, 1fr)', cell: (row) => row.version || <span className="quiet">Has not said</span> },
  { id: 'days', title: 'Behind', width: '130px', cell: (row) => <span className="number">{sayDays(row.days)}</span> },
];
const FIRST = 6;

interface ProductProps {
  product: ProductOverview;
  release: ReleaseRow | undefined;
  all: boolean;
  onAll: () => void;
}

/** Who is behind in one product, how far, and how that was before. */
export function ProductSection({ product, release, all, onAll }: ProductProps) {
  const now = useNow();
  const shown = all ? product.behind : product.behind.slice(0, FIRST);
  const behind = product.machines - product.current;
  return (
    <Section
      title={product.product}
      id={`product-${product.product}`}
      aside={
        product.newest ? (
          <span className="small">
            newest <Link href={`/updates/releases/${product.product}/${product.newest}`}>{product.newest}</Link>
          </span>
        ) : undefined
      }
    >
      <Panel>
        <div className="panel-pad product-head">
          <div>
            <p className="product-sentence">{sayProduct(product)}</p>
            {product.machines > 0 && <p className="small quiet">{sayFresh(product)}; the goal is all of them.</p>}
            <p className="small quiet product-versions">{sayVersions(product)}</p>
            {release && (
              <p className="small product-support">
                <span className="quiet">Support:</span> <State face={faceOfSupport(parseTime(release.support_ends_at), now)} />
              </p>
            )}
          </div>
          <History product={product} />
        </div>
        {behind > 0 && (
          <>
            <Table label={`Who is behind in ${product.product}`} columns={COLUMNS} rows={shown} keyOf={(row) => row.device_id} />
            {(product.behind.length > shown.length || behind > product.behind.length) && (
              <p className="product-more small">
                {product.behind.length > shown.length ? (
                  <button type="button" className="text-button small" onClick={onAll}>
                    Show {sayCount(product.behind.length - shown.length)} more
                  </button>
                ) : (
                  <span className="quiet">
                    The {sayCount(product.behind.length)} that are furthest behind, of {sayCount(behind)}.
                  </span>
                )}
              </p>
            )}
          </>
        )}
      </Panel>
    </Section>
  );
}

function sayProduct(product: ProductOverview): string {
  const { machines, current, silent } = product;
  if (machines === 0) return 'No release of it is approved for any machine.';
  const said = current === machines ? `All ${sayMachines(machines)} run the newest that is approved for them.` : `${sayCount(current)} of ${sayMachines(machines)} ${current === 1 ? 'runs' : 'run'} the newest that is approved for them.`;
  return silent === 0 ? said : `${said} ${sayCount(silent)} ${silent === 1 ? 'has' : 'have'} not said what ${silent === 1 ? 'it runs' : 'they run'}.`;
}

function sayVersions({ versions }: ProductOverview): string {
  const found = Object.entries(versions).sort((one, two) => two[1] - one[1]);
  if (found.length === 0) return 'No machine has said that it runs it.';
  const named = found.slice(0, 5).map(([version, count]) => `${version} on ${sayCount(count)}`);
  if (found.length > 5) named.push(`${sayCount(found.length - 5)} older ones on others`);
  return `As machines signed it: ${named.join(', ')}.`;
}

const WIDTH = 160;
const HEIGHT = 36;

/** A small line of the share that was fresh, one point a day. */
function History({ product }: { product: ProductOverview }) {
  const points = pointsOf(product.history);
  if (points.length < 2) return null;
  const x = (at: number): number => (WIDTH * at) / (points.length - 1);
  const y = (share: number): number => 2 + (HEIGHT - 4) * (1 - share);
  const say = (share: number): string => sayPercent(Math.round(share * 1000), 1000);
  const first = points[0] ?? 0;
  const last = points.at(-1) ?? 0;
  const label = `Share that was at most ${product.goal_days} days behind: ${say(first)} ${points.length} days ago, ${say(last)} on the last day.`;
  return (
    <figure className="product-history">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={label}>
        <polyline points={points.map((share, at) => `${x(at).toFixed(1)},${y(share).toFixed(1)}`).join(' ')} fill="none" stroke="currentColor" strokeWidth="2" strokeLinejoin="round" />
      </svg>
      <figcaption className="small quiet" aria-hidden="true">{points.length} days: {say(first)} to {say(last)}</figcaption>
    </figure>
  );
}
