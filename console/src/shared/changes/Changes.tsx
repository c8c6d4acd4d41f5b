import { Icon } from '../ui/Icon';
import { Chip } from '../ui/State';
import { sayCount } from '../ui/Table';
import { groupChanges, sayChange, sayHow, sayKind, type FoundChange, type OneChange } from './sayings';
import './changes.css';

interface ChangesProps {
  findings: FoundChange[];
  changes: OneChange[];
  left: number;
  notes: string[];
}

/** What changed on a machine: what somebody should look at first, and all the rest below it. */
export function Changes({ findings, changes, left, notes }: ChangesProps) {
  return (
    <div className="panel changes">
      {findings.length > 0 && <Findings findings={findings} />}
      {findings.length === 0 && changes.length === 0 && (
        <p className="changes-none">
          <Icon name="check" /> Nothing changed between the two looks.
        </p>
      )}
      {changes.length > 0 && <All changes={changes} left={left} open={findings.length === 0} />}
      <div className="changes-foot small quiet">
        {(findings.length > 0 || changes.length > 0) && (
          <p>This changed during the session. It does not say who did it: others may have worked on the machine.</p>
        )}
        {notes.length > 0 && (
          <details>
            <summary>Not wholly looked at: {sayCount(notes.length)}</summary>
            <ul>
              {notes.map((note) => (
                <li key={note}>{note}</li>
              ))}
            </ul>
          </details>
        )}
      </div>
    </div>
  );
}

function Findings({ findings }: { findings: FoundChange[] }) {
  return (
    <ul className="rows changes-findings" aria-label="Findings">
      {findings.map((found, at) => (
        <li key={`${found.rule}${found.words}${at}`} className={found.severity === 'info' ? 'tone-quiet' : 'tone-warn'}>
          <span className="changes-mark">
            <Icon name={found.severity === 'info' ? 'check' : 'alert'} />
          </span>
          <div className="changes-words">
            <strong>{found.words}</strong>
            {found.evidence !== '' && !found.words.includes(found.evidence) && (
              <span className="mono small quiet">{found.evidence}</span>
            )}
            {found.attack.length > 0 && (
              <span className="changes-attack">
                {found.attack.map((id) => (
                  <Chip key={id}>ATT&amp;CK {id}</Chip>
                ))}
              </span>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
}

function All({ changes, left, open }: { changes: OneChange[]; left: number; open: boolean }) {
  const total = changes.length + left;
  return (
    <details className="changes-all" open={open}>
      <summary>{total === 1 ? 'The one change' : `All ${sayCount(total)} changes`}</summary>
      {groupChanges(changes).map(([kind, rows]) => (
        <section key={kind} aria-label={sayKind(kind)}>
          <h3>{sayKind(kind)}</h3>
          <ul>
            {rows.map((one, at) => (
              <li key={`${one.name}${at}`}>
                <span className={`changes-verb verb-${one.change}`}>{sayChange(one.change)}</span>
                <span className="mono changes-name">{one.name}</span>
                {sayHow(one) !== '' && <span className="small quiet changes-how">{sayHow(one)}</span>}
              </li>
            ))}
          </ul>
        </section>
      ))}
      {left > 0 && <p className="small quiet">{sayCount(left)} more are not listed here.</p>}
    </details>
  );
}
