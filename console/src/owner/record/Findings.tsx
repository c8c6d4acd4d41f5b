import { useState, type ReactNode } from 'react';
import type { Finding, Verdict } from '../../api/ownerTypes';
import { sayLength } from '../../shared/time/time';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon, type IconName } from '../../shared/ui/Icon';
import { Section } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';

/** More of one kind are behind a button: a check of thousands of machines says something of each. */
const SHOWN = 8;

interface PartProps {
  title: string;
  tone: 'bad' | 'good' | 'quiet';
  icon: IconName;
  all: ReactNode[];
}

function Part({ title, tone, icon, all }: PartProps) {
  const [open, setOpen] = useState(false);
  if (all.length === 0) return null;
  const shown = open ? all : all.slice(0, SHOWN);
  const more = all.length - shown.length;
  return (
    <Section title={title} aside={<span className="asof">{sayCount(all.length)}</span>}>
      <ul className={`panel rows findings tone-${tone}`}>
        {shown.map((each, at) => (
          <li key={at}>
            <Icon name={icon} />
            {each}
          </li>
        ))}
        {more > 0 && (
          <li>
            <button type="button" className="text-button" onClick={() => setOpen(true)}>
              Show {sayCount(more)} more
            </button>
          </li>
        )}
      </ul>
    </Section>
  );
}

const sayPlace = (finding: Finding): string =>
  [
    finding.entry === undefined || finding.entry === '' ? null : `Entry ${finding.entry}`,
    finding.device ? `of ${finding.device}` : null,
  ]
    .filter((part) => part !== null)
    .join(' ') || 'The record';

/** What holds for the whole record comes before what holds for one machine. */
const wholeFirst = <One extends { device?: string }>(all: One[]): One[] => [
  ...all.filter((each) => !each.device),
  ...all.filter((each) => each.device),
];

/** The words name the machine and the beginning of its id; where they do not, the id is said. */
function sayAgeOf({ words, device }: { words: string; device: string }, ageSeconds: number): string {
  const age = `newest signed word ${sayLength(ageSeconds * 1000)} old`;
  return device === '' || words.includes(device.slice(0, 8)) ? age : `${device}, ${age}`;
}

export function Findings({ verdict }: { verdict: Verdict }) {
  return (
    <div aria-live="polite">
      <Part
        title="Contradicted"
        tone="bad"
        icon="cross"
        all={verdict.contradicted.map((each) => (
          <div key={each.words}>
            <strong className="toned">{sayPlace(each)}</strong>
            <p>{each.words}</p>
          </div>
        ))}
      />
      <Part
        title="Proven"
        tone="good"
        icon="check"
        all={wholeFirst(verdict.proven).map((each) => <p key={each.words} title={each.device}>{each.words}</p>)}
      />
      <Part
        title="Cannot be known yet"
        tone="quiet"
        icon="clock"
        all={wholeFirst(verdict.unknown).map((each) => (
          <div key={each.words} title={each.device}>
            <p>{each.words}</p>
            {each.age_seconds !== null && <p className="small quiet">{sayAgeOf(each, each.age_seconds)}</p>}
          </div>
        ))}
      />
      <Section title="The same check, offline">
        <CopyLine text={verdict.command} label="the command that checks the record" />
      </Section>
    </div>
  );
}
