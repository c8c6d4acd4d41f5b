import type { Recall, RecallDetail } from '../../api/types';
import { sayCount } from '../../shared/ui/Table';
import { faceOfStanding } from './recall';

const ORDER = ['affected', 'unknown', 'updated', 'retired'] as const;
const WORDS: Record<(typeof ORDER)[number], string> = {
  affected: 'still affected, as they signed',
  unknown: 'have not said what they run',
  updated: 'updated, as they signed',
  retired: 'retired, as the owner signed',
};

/** How far it is, in numbers that add up: what is not proven is never done. */
export function RecallProgress({ recall, history }: { recall: Recall; history: RecallDetail['history'] }) {
  const { tally } = recall;
  const done = tally.updated + tally.retired;
  return (
    <div className="recall-progress">
      <dl className="recall-counts">
        {ORDER.map((each) => (
          <div key={each} className={tally[each] === 0 ? 'recall-none' : `tone-${faceOfStanding(each).tone}`}>
            <dt>{WORDS[each]}</dt>
            <dd className="number">{sayCount(tally[each])}</dd>
          </div>
        ))}
      </dl>
      <div>
        <div className="wave-bar tone-good" role="img" aria-label={`${sayCount(done)} of ${sayCount(tally.found)} proven to be done`}>
          <span style={{ width: tally.found === 0 ? '0%' : `${(100 * done) / tally.found}%` }} />
        </div>
        <p className="small">
          <strong className="number">{sayCount(done)}</strong> of <span className="number">{sayCount(tally.found)}</span> proven to be done
          {tally.silent > 0 && (
            <>
              . Of the others, <strong className="number">{sayCount(tally.silent)}</strong> {tally.silent === 1 ? 'is' : 'are'} not connected
            </>
          )}
          .
        </p>
      </div>
      {history.length > 1 && <History history={history} />}
    </div>
  );
}

/** The last days: what was open, day by day. */
function History({ history }: { history: RecallDetail['history'] }) {
  const most = Math.max(...history.map((each) => each.affected + each.unknown), 1);
  const points = history.map((each, at) => {
    const x = (at * 100) / (history.length - 1);
    const y = 28 - (26 * (each.affected + each.unknown)) / most;
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  const first = history[0];
  const last = history[history.length - 1];
  if (!first || !last) return null;
  return (
    <figure className="recall-history">
      <svg viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label={`Not done: ${first.affected + first.unknown} on ${first.day.slice(0, 10)}, ${last.affected + last.unknown} on ${last.day.slice(0, 10)}`}>
        <polyline points={points.join(' ')} fill="none" stroke="currentColor" strokeWidth="2" vectorEffect="non-scaling-stroke" />
      </svg>
      <figcaption className="small quiet">
        Not done, from <span className="number">{sayCount(first.affected + first.unknown)}</span> on {first.day.slice(0, 10)} to{' '}
        <span className="number">{sayCount(last.affected + last.unknown)}</span> now
      </figcaption>
    </figure>
  );
}
