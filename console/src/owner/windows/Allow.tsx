import { Button, Checkbox, Chip, Group, MultiSelect, NumberInput, SegmentedControl, Select, TextInput, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { AheadList, AheadWish, PreparedAhead } from '../../api/ownerTypes';
import { Failure } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { SixWords } from '../../shared/ui/SixWords';
import { canUsePasskeys, sayYes } from '../passkey';
import { sayMinutes } from '../sessions/sayings';
import { DAYS, isComplete, wordsOf, zoneHere, type Times } from './sayings';

const LENGTHS = [
  { value: '0', label: 'As long as your policy and the window allow' },
  { value: '900', label: '15 min' },
  { value: '1800', label: '30 min' },
  { value: '3600', label: '1 h' },
  { value: '7200', label: '2 h' },
];
const START: Times = { days: ['Tue'], date: '', from: '02:00', to: '04:00', weeks: 12 };

interface Chosen {
  machines: string[];
  person: string;
  scopes: string[];
  port: string;
  weekly: boolean;
  times: Times;
  zone: string;
  seconds: string;
  watched: boolean;
  reason: string;
}

function wishOf(chosen: Chosen): AheadWish {
  const scopes = chosen.port.trim() === '' ? chosen.scopes : [...chosen.scopes, `tcp:${chosen.port.trim()}`];
  return {
    machines: chosen.machines,
    people: [chosen.person],
    scopes,
    ...wordsOf(chosen.weekly, chosen.times),
    weeks: chosen.times.weeks,
    skip: [],
    time_zone: chosen.zone.trim(),
    seconds: Number(chosen.seconds),
    watched: chosen.watched,
    reason: chosen.reason.trim(),
  };
}

/** Whom to let in ahead, where, for what and when; then the six words of what you sign. */
export function Allow({ list, onDone }: { list: AheadList; onDone: (words: string) => void }) {
  const [chosen, setChosen] = useState<Chosen>({
    machines: [],
    person: list.people.length === 1 ? (list.people[0] ?? '') : '',
    scopes: [],
    port: '',
    weekly: true,
    times: START,
    zone: zoneHere(),
    seconds: '0',
    watched: false,
    reason: '',
  });
  const prepare = useMutation({ mutationFn: () => owner.prepareWindow(wishOf(chosen)) });
  const change = (part: Partial<Chosen>): void => {
    prepare.reset();
    setChosen((old) => ({ ...old, ...part }));
  };
  const complete =
    chosen.machines.length > 0 && chosen.person !== '' && chosen.reason.trim() !== '' && chosen.zone.trim() !== '' &&
    (chosen.scopes.length > 0 || chosen.port.trim() !== '') && isComplete(chosen.weekly, chosen.times);
  return (
    <Page
      title="Windows"
      heading="Whom do you let in ahead?"
      lead="Each machine lets this person in once in each window, for this alone. You can take it back at any time."
      aside={<Button variant="default" onClick={() => onDone('')}>Back to the list</Button>}
    >
      <form
        className="access-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (complete) prepare.mutate();
        }}
      >
        <Select label="Who" placeholder="Choose" required data={list.people} value={chosen.person || null} onChange={(person) => change({ person: person ?? '' })} />
        <MultiSelect label="On which machines" required searchable data={list.machines.map((each) => ({ value: each.id, label: each.words }))} value={chosen.machines} onChange={(machines) => change({ machines })} />
        <fieldset>
          <legend>What for</legend>
          {list.scopes.map((scope) => (
            <Checkbox
              key={scope.id}
              label={scope.words}
              checked={chosen.scopes.includes(scope.id)}
              onChange={(event) => {
                const on = event.currentTarget.checked;
                change({ scopes: on ? [...chosen.scopes, scope.id] : chosen.scopes.filter((id) => id !== scope.id) });
              }}
            />
          ))}
          <TextInput label="A port of the machine" description="As 8080/http for its web page, or 5900/raw" maw={280} value={chosen.port} onChange={(event) => change({ port: event.currentTarget.value })} />
        </fieldset>
        <When chosen={chosen} change={change} />
        <Select label="Inside for at most" maw={360} allowDeselect={false} data={LENGTHS} value={chosen.seconds} onChange={(seconds) => change({ seconds: seconds ?? '0' })} />
        <Checkbox label="Only while somebody watches" checked={chosen.watched} onChange={(event) => change({ watched: event.currentTarget.checked })} />
        <Textarea label="Because" required autosize minRows={1} maxRows={4} maxLength={500} value={chosen.reason} onChange={(event) => change({ reason: event.currentTarget.value })} />
        {prepare.error && <Failure failure={prepare.error} />}
        {prepare.data ? (
          <Sign prepared={prepare.data} onDone={onDone} onBack={prepare.reset} />
        ) : (
          <div>
            <Button type="submit" size="md" disabled={!complete} loading={prepare.isPending}>
              See what you would sign
            </Button>
          </div>
        )}
      </form>
    </Page>
  );
}

function When({ chosen, change }: { chosen: Chosen; change: (part: Partial<Chosen>) => void }) {
  const { times, weekly } = chosen;
  const set = (part: Partial<Times>): void => change({ times: { ...times, ...part } });
  return (
    <fieldset>
      <legend>When</legend>
      <div>
        <SegmentedControl
          aria-label="How often"
          value={weekly ? 'weekly' : 'once'}
          onChange={(value) => change({ weekly: value === 'weekly' })}
          data={[{ value: 'weekly', label: 'Every week' }, { value: 'once', label: 'Once' }]}
        />
      </div>
      {weekly ? (
        <Chip.Group multiple value={times.days} onChange={(days) => set({ days })}>
          <Group gap={6}>
            {DAYS.map((day) => (
              <Chip key={day} value={day} size="sm">{day}</Chip>
            ))}
          </Group>
        </Chip.Group>
      ) : (
        <TextInput label="On" type="date" maw={220} value={times.date} onChange={(event) => set({ date: event.currentTarget.value })} />
      )}
      <div className="window-times">
        <TextInput label="From" type="time" value={times.from} onChange={(event) => set({ from: event.currentTarget.value })} />
        <TextInput label="To" type="time" value={times.to} onChange={(event) => set({ to: event.currentTarget.value })} />
        {weekly && <NumberInput label="Weeks" min={1} max={57} allowDecimal={false} clampBehavior="strict" value={times.weeks} onChange={(value) => set({ weeks: Math.max(1, Number(value) || 1) })} />}
        <TextInput label="Time zone" value={chosen.zone} maxLength={64} onChange={(event) => change({ zone: event.currentTarget.value })} />
      </div>
    </fieldset>
  );
}

function Sign({ prepared, onDone, onBack }: { prepared: PreparedAhead; onDone: (words: string) => void; onBack: () => void }) {
  const client = useQueryClient();
  const choice = canUsePasskeys() ? prepared.passkey : null;
  const allow = useMutation({
    mutationFn: async (how: 'passkey' | 'key') => owner.allowWindow(prepared.standing, how === 'passkey' && choice ? await sayYes(choice) : null),
    onSuccess: async (said) => {
      onDone(said.words);
      await client.invalidateQueries({ queryKey: ['access'] });
    },
  });
  const signing = (how: 'passkey' | 'key') => allow.isPending && allow.variables === how;
  const end = prepared.people_needed > 1 ? 'Sign for yourself' : 'Sign and allow';
  return (
    <div className="panel panel-pad access-sign">
      <h2>You would sign this, and nothing else</h2>
      <p>
        {prepared.people.join(' and ')} may enter {prepared.machines.join(', ')}, once in each window:{' '}
        {prepared.scopes.map((scope) => scope.words).join('; ')}, for {sayMinutes(prepared.seconds)} at most
        {prepared.watched ? ', watched' : ''}.
      </p>
      <ol className="window-spans">
        {prepared.windows.map((span) => (
          <li key={span.not_before}><span>{span.words}</span></li>
        ))}
      </ol>
      <SixWords words={prepared.six_words} />
      {prepared.people_needed > 1 && <p className="small quiet">It takes {prepared.people_needed} people; none of them may come by it.</p>}
      {choice && <p className="small quiet">A passkey of {choice.people.join(' or ')} signs here, for this alone.</p>}
      {allow.error && <Failure failure={allow.error} />}
      <Group>
        {choice && (
          <Button type="button" size="md" loading={signing('passkey')} disabled={allow.isPending} onClick={() => allow.mutate('passkey')}>
            {end} by passkey
          </Button>
        )}
        {prepared.own_key && (
          <Button type="button" size="md" variant={choice ? 'default' : 'filled'} loading={signing('key')} disabled={allow.isPending} onClick={() => allow.mutate('key')}>
            {choice ? 'By the key in your folder' : end}
          </Button>
        )}
        <Button type="button" variant={choice ? 'subtle' : 'default'} onClick={onBack}>
          Back
        </Button>
      </Group>
    </div>
  );
}
