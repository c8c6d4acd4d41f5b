import { Button } from '@mantine/core';
import { Link, useLocation } from 'wouter';
import type { Card } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Icon, type IconName } from '../../shared/ui/Icon';
import { Words } from '../../shared/ui/Words';
import { toneOfCard } from '../../shared/words/faces';
import { isOutside, safeHref } from '../../shared/words/words';
import './today.css';

function iconOf(kind: string): IconName {
  if (/-held$/.test(kind)) return 'alert';
  if (/wait|confirm|pending/.test(kind)) return 'person';
  if (/record|identity/.test(kind)) return 'proof';
  if (/quarantin|contain|refus/.test(kind)) return 'block';
  if (/updat/.test(kind)) return 'download';
  if (/silen/.test(kind)) return 'clock';
  if (/set-?up|setup|tour/.test(kind)) return 'setup';
  return 'alert';
}

function Verb({ card, first, onHere }: { card: Card; first: boolean; onHere?: (card: Card) => void }) {
  const [path] = useLocation();
  const href = safeHref(card.verb.href);
  if (!href) return null;
  const look = { variant: first ? 'filled' : 'default', size: 'sm' } as const;
  const label = `${card.verb.label}: ${card.title}`;
  if (onHere && href === path) {
    return (
      <Button onClick={() => onHere(card)} aria-label={label} {...look}>
        {card.verb.label}
      </Button>
    );
  }
  return isOutside(href) ? (
    <Button component="a" href={href} target="_blank" rel="noreferrer" aria-label={label} {...look}>
      {card.verb.label}
    </Button>
  ) : (
    <Button component={Link} href={href} aria-label={label} {...look}>
      {card.verb.label}
    </Button>
  );
}

/** What asks for somebody: what, where, why it matters, since when, and one thing to do. */
export function CardList({ cards, label, onHere }: { cards: Card[]; label: string; onHere?: (card: Card) => void }) {
  return (
    <ul className="panel rows cards" aria-label={label}>
      {cards.map((card, at) => (
        <li key={card.id} className={`card tone-${toneOfCard(card.kind)}`}>
          <span className="card-mark">
            <Icon name={iconOf(card.kind)} size={18} />
          </span>
          <div className="card-words">
            <p className="card-title">{card.title}</p>
            <p className="card-why"><Words text={card.why} /></p>
            <p className="card-where">
              <span className="truncate" title={card.where}>
                {card.where}
              </span>
              <Age at={card.since} />
            </p>
          </div>
          <div className="card-verb">
            <Verb card={card} first={at === 0} onHere={onHere} />
          </div>
        </li>
      ))}
    </ul>
  );
}
