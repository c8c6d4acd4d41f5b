import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Ahead, AheadList, WindowMachine } from '../../api/ownerTypes';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Facts, Page, Panel } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { Note, State } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { sayMinutes } from '../sessions/sayings';
import '../sessions/sessions.css';
import { Allow } from './Allow';
import { Revoke } from './Revoke';
import { countStands, faceOfAhead, sayStand } from './sayings';
import './windows.css';

/** In which windows who may come without anybody being woken; and taking it back. */
export function Windows() {
  const windows = useQuery({ queryKey: ['access', 'windows'], queryFn: owner.windows });
  const [adding, setAdding] = useState(false);
  const [said, setSaid] = useState('');
  return (
    <Answer of={windows} title="Windows" lines={6}>
      {(list) =>
        adding ? (
          <Allow
            list={list}
            onDone={(words) => {
              setSaid(words);
              setAdding(false);
            }}
          />
        ) : (
          <Listed
            list={list}
            said={said}
            onAdd={() => {
              setSaid('');
              setAdding(true);
            }}
            onSaid={setSaid}
          />
        )
      }
    </Answer>
  );
}

function Listed({ list, said, onAdd, onSaid }: { list: AheadList; said: string; onAdd: () => void; onSaid: (words: string) => void }) {
  return (
    <Page
      title="Windows"
      heading="Who may come without asking, and when"
      lead="You sign once, ahead. When the hour comes, the machine itself lets in who you named, once in each window, and nobody is woken."
      aside={
        list.items.length > 0 ? (
          <Button onClick={onAdd} disabled={list.people.length === 0}>
            Allow ahead…
          </Button>
        ) : undefined
      }
    >
      {said !== '' && (
        <div className="owner-done">
          <Note tone="good" icon="check" live><strong>{said}</strong></Note>
        </div>
      )}
      {list.items.length === 0 ? <None list={list} onAdd={onAdd} /> : list.items.map((item) => <One key={item.id} item={item} onSaid={onSaid} />)}
    </Page>
  );
}

function None({ list, onAdd }: { list: AheadList; onAdd: () => void }) {
  if (list.people.length === 0) {
    return (
      <Empty title="Nobody may ask to enter your machines yet.">
        <p className="quiet small">
          Name a technician first: <code>fleetward owner policy requester add</code>.
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="Nothing was allowed ahead.">
      <Button onClick={onAdd}>Allow ahead…</Button>
    </Empty>
  );
}

function One({ item, onSaid }: { item: Ahead; onSaid: (words: string) => void }) {
  if (item.trouble !== '') {
    return (
      <Panel pad className="access-block">
        <State face={faceOfAhead(item)} />
        <p><Words text={item.trouble} /></p>
        <p className="small mono">{item.id}</p>
      </Panel>
    );
  }
  const next = item.next_window === null ? null : item.windows[item.next_window];
  const title = `${item.people.join(' and ')} at ${item.machines.map((machine) => machine.name).join(', ')}`;
  return (
    <section className="panel panel-pad access-block window-one" aria-label={title}>
      <div className="window-head">
        <h2>{title}</h2>
        <State face={faceOfAhead(item)} />
      </div>
      {item.doubt !== '' && <Note tone="bad" icon="block"><Words text={item.doubt} /></Note>}
      <Facts
        facts={[
          [item.open_now ? 'Open now' : 'Next window', next ? next.words : 'none'],
          ['What for', item.scopes.map((scope) => scope.words).join('; ')],
          ['Because', item.reason],
          ['At most', `${sayMinutes(item.seconds)} in each${item.watched ? ', watched' : ''}`],
          ['Allowed by', item.allowed_by.join(' and ')],
        ]}
      />
      <ul className="window-machines">
        {item.machines.map((machine) => (
          <Machine key={machine.device_id} machine={machine} />
        ))}
      </ul>
      <details className="window-more">
        <summary>All {item.windows.length} windows, and the six words</summary>
        <ol className="window-spans">
          {item.windows.map((span, place) => (
            <li key={span.not_before}>
              <span>{span.words}</span>
              <span className="quiet">{standsOf(item, place)}</span>
            </li>
          ))}
        </ol>
        <SixWords words={item.six_words} />
      </details>
      {item.revoked_by === '' && item.next_window !== null && (
        <div>
          <Revoke item={item} title={title} onDone={onSaid} />
        </div>
      )}
    </section>
  );
}

function standsOf(item: Ahead, place: number): string {
  const stands = item.machines.flatMap((machine) => machine.windows[place] ?? []);
  const [first] = stands;
  if (item.machines.length === 1 && first) return sayStand(first);
  return countStands(stands);
}

function Machine({ machine }: { machine: WindowMachine }) {
  return (
    <li>
      <strong>{machine.name}</strong> <span className="quiet">{machine.words}. {countStands(machine.windows)}.</span>
    </li>
  );
}
