import { Link } from 'wouter';
import { Icon } from '../../shared/ui/Icon';
import { sayMachines } from './sayings';

interface CauseRow {
  cause: string;
  count: number;
  words: string;
  href: string;
  /** What failed there, where it is not plain from the page. */
  what?: string;
}

/** Failures by what went wrong, the most frequent first, with words that a machine signed. */
export function Causes({ causes, label }: { causes: CauseRow[]; label: string }) {
  return (
    <ul className="panel rows causes" aria-label={label}>
      {causes.map((cause) => (
        <li key={`${cause.what ?? ''} ${cause.cause}`} className="tone-bad">
          <Icon name="alert" />
          <div>
            <p>
              {cause.what && <strong>{cause.what}: </strong>}
              <strong>{cause.cause}</strong>
            </p>
            {cause.words && <p className="small quiet">One of them said: “{cause.words}”</p>}
          </div>
          <Link href={cause.href} className="small">
            {sayMachines(cause.count)}
          </Link>
        </li>
      ))}
    </ul>
  );
}
