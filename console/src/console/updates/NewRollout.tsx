import { Button, MultiSelect, NumberInput, Radio, SegmentedControl, TagsInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useLocation } from 'wouter';
import { api } from '../../api/client';
import type { ReleaseRow, RolloutForecast, RolloutWish } from '../../api/types';
import { Failure, Loading } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Note } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { createCommand } from './commands';
import { sayMachines } from './sayings';
import { EMPTY_FORM, PACES, WHICH, readForm, type Form, type Pace, type Which } from './wish';

const MAX_NAMED = 64;

/** Making a rollout. What it can reach before somebody looks is shown before it is made. */
export function NewRollout({ release }: { release: ReleaseRow }) {
  const [form, setForm] = useState<Form>(EMPTY_FORM);
  const change = (part: Partial<Form>): void => setForm((old) => ({ ...old, ...part }));
  const wish = readForm(release.product, release.version, form);
  const [asked] = useDebouncedValue(wish, 250);
  const forecast = useQuery({
    queryKey: ['updates', 'forecast', asked],
    queryFn: () => api.forecastRollout(asked as RolloutWish),
    enabled: asked !== null,
    placeholderData: keepPreviousData,
  });
  const [, go] = useLocation();
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: (ready: RolloutWish) => api.createRollout(ready),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['updates'] });
      go(`/updates/rollouts/${made.id}`);
    },
  });
  const isShown = wish !== null && JSON.stringify(wish) === JSON.stringify(asked) && forecast.data !== undefined && !forecast.isPlaceholderData && !forecast.error;
  return (
    <form
      className="panel new-rollout"
      aria-label="A new rollout"
      onSubmit={(event) => {
        event.preventDefault();
        if (wish && isShown) create.mutate(wish);
      }}
    >
      <WhichMachines form={form} change={change} release={release} />
      <Canaries form={form} change={change} />
      <Radio.Group label="How fast" value={form.pace} onChange={(pace) => change({ pace: pace as Pace })}>
        <div className="new-paces">
          {PACES.map((pace) => (
            <Radio key={pace.id} value={pace.id} label={pace.label} description={pace.words} />
          ))}
        </div>
      </Radio.Group>
      <NumberInput
        label="Machines that may fail before it is held"
        description="Failures are what machines sign. With 0, the first one holds it."
        maw={340}
        min={0}
        max={1_000_000}
        allowDecimal={false}
        allowNegative={false}
        clampBehavior="strict"
        value={form.allowed}
        onChange={(value) => change({ allowed: typeof value === 'number' ? value : 0 })}
      />
      <div aria-live="polite" className="new-forecast">
        {wish === null ? (
          <p className="quiet small">Name at least one {form.which === 'sites' ? 'site' : form.which === 'groups' ? 'group' : 'model'}, to see what it would reach.</p>
        ) : forecast.error ? (
          <Failure failure={forecast.error} />
        ) : forecast.data ? (
          <Promise forecast={forecast.data} />
        ) : (
          <Loading lines={2} />
        )}
      </div>
      {wish && createCommand(wish) && (
        <div className="new-same">
          <p className="small quiet">The same in a terminal:</p>
          <CopyLine text={createCommand(wish) ?? ''} label="the command that makes this rollout" />
        </div>
      )}
      {create.error && <Failure failure={create.error} />}
      <div>
        <Button type="submit" size="md" loading={create.isPending} disabled={!isShown || forecast.data?.machines === 0}>
          {isShown && forecast.data && forecast.data.already === 0 ? `Roll out to ${sayMachines(forecast.data.machines)}` : 'Roll out'}
        </Button>
      </div>
    </form>
  );
}

interface PartProps {
  form: Form;
  change: (part: Partial<Form>) => void;
}

function WhichMachines({ form, change, release }: PartProps & { release: ReleaseRow }) {
  const sites = useQuery({ queryKey: ['sites'], queryFn: api.sites });
  return (
    <fieldset className="new-which">
      <legend>Which machines</legend>
      <SegmentedControl
        aria-label="Which machines"
        value={form.which}
        onChange={(which) => change({ which: which as Which, named: [] })}
        data={WHICH.map(({ id, label }) => ({ value: id, label }))}
      />
      {form.which === 'sites' && (
        <MultiSelect
          label="Sites"
          description="A machine of one of them is meant, as the owner’s list of machines has it."
          searchable
          data={sites.data?.items.map((site) => site.site).filter((site) => site !== '') ?? []}
          maxValues={MAX_NAMED}
          value={form.named}
          onChange={(named) => change({ named })}
        />
      )}
      {(form.which === 'groups' || form.which === 'models') && (
        <TagsInput
          label={form.which === 'groups' ? 'Groups' : 'Models'}
          description={form.which === 'groups' ? 'As the owner’s list of machines names them. Press Enter after each.' : 'As the owner’s list of machines names them. Press Enter after each.'}
          data={form.which === 'models' ? release.hardware.filter((model) => model !== '*') : []}
          maxTags={MAX_NAMED}
          value={form.named}
          onChange={(named) => change({ named })}
          acceptValueOnBlur
        />
      )}
    </fieldset>
  );
}

const FOUND = 20;

/** Machines that come first. Everybody else waits until they run it, and for the quiet time after. */
function Canaries({ form, change }: PartProps) {
  const [text, setText] = useState('');
  const [q] = useDebouncedValue(text, 250);
  const [names, keep] = useState<Record<string, string>>({});
  const found = useQuery({
    queryKey: ['devices', 'canaries', q],
    queryFn: () => api.devices({ q, state: 'active', per_page: FOUND, sort: 'name' }),
    placeholderData: keepPreviousData,
  });
  const rows = found.data?.items ?? [];
  const options = new Map([
    ...form.canaries.map((id) => [id, names[id] ?? id] as const),
    ...rows.map((row) => [row.id, row.site ? `${row.name}, ${row.site}` : row.name] as const),
  ]);
  return (
    <MultiSelect
      label="Canaries: these first"
      description="If you like. Everybody else waits until they run it well."
      placeholder={form.canaries.length === 0 ? 'No canaries' : undefined}
      searchable
      searchValue={text}
      onSearchChange={setText}
      filter={({ options: all }) => all}
      nothingFoundMessage="No machine of this name"
      maxValues={MAX_NAMED}
      data={[...options].map(([value, label]) => ({ value, label }))}
      value={form.canaries}
      onChange={(canaries) => {
        keep(Object.fromEntries(canaries.map((id) => [id, options.get(id) ?? id])));
        change({ canaries });
      }}
    />
  );
}

/** What it would be, before anything is made. */
function Promise({ forecast }: { forecast: RolloutForecast }) {
  const { machines, approved, already } = forecast;
  if (machines === 0) {
    return (
      <Note tone="quiet" icon="empty">
        <strong>No machine is meant.</strong> Those that run this release or a newer one already do not count, nor does
        hardware that it is not for.
      </Note>
    );
  }
  return (
    <Note tone={forecast.promise >= machines && machines > 1 ? 'warn' : 'accent'} icon="proof">
      <strong>{forecast.promise_words}</strong>
      <ol className="new-stages">
        {forecast.stages.map((stage, at) => (
          <li key={at}>
            {stage.words === 'canaries' ? 'Canaries' : `${at === 0 ? 'First' : 'Then'} ${stage.words}`}: up to {stage.limit === null ? 'everybody' : sayMachines(stage.limit)}
          </li>
        ))}
      </ol>
      {approved < machines && (
        <p>
          {approved === 0
            ? 'The owner has approved it for none of them yet. They wait for that: approval happens in the owner’s tool.'
            : `The owner has approved it for ${sayCount(approved)} of them so far. The others wait for that: approval happens in the owner’s tool.`}
        </p>
      )}
      {already > 0 && <p>{sayMachines(already)} {already === 1 ? 'was' : 'were'} told of it before, and {already === 1 ? 'counts' : 'count'} from the start.</p>}
    </Note>
  );
}
