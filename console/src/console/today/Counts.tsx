import { Link } from 'wouter';
import type { Today } from '../../api/types';
import { sayCount } from '../../shared/ui/Table';

const PARTS = [
  { id: 'fine', tone: 'good', words: 'fine', href: null },
  { id: 'need_you', tone: 'warn', words: 'need you', href: '/fleet?sort=-need' },
  { id: 'silent', tone: 'quiet', words: 'silent', href: '/fleet?need=silent' },
  { id: 'waiting', tone: 'accent', words: 'waiting', href: '/fleet?need=waiting' },
] as const;

/** The sentence as a thin bar; each part leads to its list. */
export function Counts({ counts }: { counts: Today['counts'] }) {
  const parts = PARTS.filter((part) => counts[part.id] > 0);
  return (
    <div className="counts">
      <div className="share" aria-hidden="true">
        {parts.map((part) => (
          <span key={part.id} className={`tone-${part.tone}`} style={{ flexGrow: counts[part.id] }} />
        ))}
      </div>
      <div className="share-legend">
        {parts.map((part) => {
          const words = (
            <>
              <i className={`tone-${part.tone}`} aria-hidden="true" />
              {sayCount(counts[part.id])} {part.words}
            </>
          );
          return part.href ? (
            <Link key={part.id} href={part.href}>{words}</Link>
          ) : (
            <span key={part.id}>{words}</span>
          );
        })}
      </div>
    </div>
  );
}
