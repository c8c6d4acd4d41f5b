import { Autocomplete, Button, Radio, Select, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useLocation, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { RecallForecast, RecallWish, ReleaseRow } from '../../api/types';
import { Answer, Failure, Loading } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Page } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { openCommand, readForm, readStart, type Form } from './recall';
import './updates.css';
import './recall.css';

/** Opening a recall. Whom it finds is shown before it is opened. */
export default function NewRecall() {
  const releases = useQuery({ queryKey: ['updates', 'releases'], queryFn: api.releases });
  const [search] = useSearchParams();
  return (
    <Answer of={releases} lines={10} title="A new recall">
      {({ items }) => <NewRecallPage releases={items} start={readStart(search, items)} />}
    </Answer>
  );
}

const REMEDIES: { id: RecallWish['remedy']; label: string; words: string }[] = [
  { id: 'patch', label: 'Update it', words: 'Done is a machine that signed that it runs another version for good.' },
  { id: 'disable', label: 'Disable it', words: 'This server can only put it into quarantine. Closing it is the owner’s signed order; done is what the roster retires, or what signed another version.' },
  { id: 'stop', label: 'Take it out of use', words: 'Done is a machine that the owner’s signed roster has retired, or that signed another version.' },
];

function NewRecallPage({ releases, start }: { releases: ReleaseRow[]; start: Form }) {
  const [form, setForm] = useState(start);
  const change = (part: Partial<Form>): void => setForm((old) => ({ ...old, ...part }));
  const wish = readForm(form);
  const [asked] = useDebouncedValue(wish, 250);
  const forecast = useQuery({
    queryKey: ['updates', 'recall-forecast', asked],
    queryFn: () => api.forecastRecall(asked as RecallWish),
    enabled: asked !== null,
    placeholderData: keepPreviousData,
  });
  const [, go] = useLocation();
  const client = useQueryClient();
  const open = useMutation({
    mutationFn: (ready: RecallWish) => api.openRecall(ready),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['updates'] });
      go(`/updates/recalls/${made.id}`);
    },
  });
  const isShown = wish !== null && JSON.stringify(wish) === JSON.stringify(asked) && forecast.data !== undefined && !forecast.isPlaceholderData && !forecast.error;
  return (
    <Page
      title="A new recall"
      lead="It finds machines and tells people. No machine is made to do anything by it."
      above={
        <Link href="/updates/recalls" className="back">
          <Icon name="left" />
          Recalls
        </Link>
      }
    >
      <form
        className="panel new-rollout"
        aria-label="A new recall"
        onSubmit={(event) => {
          event.preventDefault();
          if (wish && isShown) open.mutate(wish);
        }}
      >
        <What form={form} change={change} releases={releases} />
        <Radio.Group label="What is to be done" value={form.remedy} onChange={(remedy) => change({ remedy: remedy as Form['remedy'] })}>
          <div className="new-paces">
            {REMEDIES.map((each) => (
              <Radio key={each.id} value={each.id} label={each.label} description={each.words} />
            ))}
          </div>
        </Radio.Group>
        {form.remedy === 'patch' && <Fix form={form} change={change} releases={releases} />}
        <Why form={form} change={change} />
        <div aria-live="polite" className="new-forecast">
          {wish === null ? (
            <p className="quiet small">Say what is recalled, what is to be done and why, to see whom it finds.</p>
          ) : forecast.error ? (
            <Failure failure={forecast.error} />
          ) : forecast.data ? (
            <Finds forecast={forecast.data} />
          ) : (
            <Loading lines={2} />
          )}
        </div>
        {wish && (
          <div className="new-same">
            <p className="small quiet">The same in a terminal:</p>
            <CopyLine text={openCommand(wish)} label="the command that opens this recall" />
          </div>
        )}
        {open.error && <Failure failure={open.error} />}
        <div>
          <Button type="submit" size="md" loading={open.isPending} disabled={!isShown}>
            Open the recall
          </Button>
        </div>
      </form>
    </Page>
  );
}

interface PartProps {
  form: Form;
  change: (part: Partial<Form>) => void;
}

function What({ form, change, releases }: PartProps & { releases: ReleaseRow[] }) {
  const products = [...new Set(releases.map((each) => each.product))].sort();
  const versions = releases.filter((each) => each.product === form.product).map((each) => each.version);
  return (
    <>
      <Autocomplete
        label="Product"
        description="Empty: machines of a model, whatever they run."
        maxLength={48}
        data={products}
        value={form.product}
        onChange={(product) => change({ product })}
      />
      {form.product !== '' && (
        <TagsInput
          label="Versions"
          description="As 1.1, 1.0:1.2, :1.2 for all up to it, or 1.0: for all from it on. None: every version. Press Enter after each."
          data={versions}
          maxTags={64}
          value={form.versions}
          onChange={(named) => change({ versions: named })}
          acceptValueOnBlur
        />
      )}
      <TagsInput
        label="Models"
        description={form.product === '' ? 'As the owner’s roster names them. Press Enter after each.' : 'Which machines can have it. None: those that the releases are for.'}
        maxTags={64}
        value={form.models}
        onChange={(models) => change({ models })}
        acceptValueOnBlur
      />
    </>
  );
}

function Fix({ form, change, releases }: PartProps & { releases: ReleaseRow[] }) {
  const versions = releases.filter((each) => each.product === form.product).map((each) => each.version);
  const known = form.fix === '' || versions.includes(form.fix) ? versions : [form.fix, ...versions];
  return known.length === 0 ? (
    <TextInput label="The version that mends it" maxLength={64} value={form.fix} onChange={(event) => change({ fix: event.currentTarget.value })} />
  ) : (
    <Select label="The version that mends it" data={known} value={form.fix === '' ? null : form.fix} onChange={(fix) => change({ fix: fix ?? '' })} />
  );
}

function Why({ form, change }: PartProps) {
  return (
    <>
      <TextInput label="In a line" description="What is wrong, as its heading." maxLength={120} required value={form.title} onChange={(event) => change({ title: event.currentTarget.value })} />
      <Textarea label="Why" description="What can happen, and to whom. Those who are told read it." maxLength={2000} autosize minRows={2} maxRows={8} required value={form.why} onChange={(event) => change({ why: event.currentTarget.value })} />
      <TagsInput label="Advisories" description="CVE and other ids. Press Enter after each." maxTags={32} value={form.advisories} onChange={(advisories) => change({ advisories })} acceptValueOnBlur />
      <TextInput label="To be over by" description="If you like. After that day it is overdue, and people are told again." type="date" maw={240} value={form.until} onChange={(event) => change({ until: event.currentTarget.value })} />
    </>
  );
}

function Finds({ forecast }: { forecast: RecallForecast }) {
  return (
    <Note tone={forecast.tally.found > 0 ? 'warn' : 'quiet'} icon={forecast.tally.found > 0 ? 'alert' : 'empty'}>
      <strong>{forecast.headline}</strong>
      <p>
        It is for {forecast.machines}
        {forecast.versions.length > 0 && <>, and about the published versions {forecast.versions.join(', ')}</>}. Whoever joins later is found too.
      </p>
    </Note>
  );
}
