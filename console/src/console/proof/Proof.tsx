import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import type { LogRecord } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { faceOfRecord } from '../../shared/words/faces';
import { Heads } from './Heads';
import './proof.css';

/** Is the record whole? This page says what the server says, and how to check it without the server. */
export default function Proof() {
  const record = useQuery({ queryKey: ['record'], queryFn: api.record });
  return <Answer of={record} lines={8} title="Proof">{(data) => <ProofPage record={data} />}</Answer>;
}

const SENTENCES: Record<LogRecord['state'], string> = {
  intact: 'The server says the record is whole.',
  broken: 'The record is broken.',
  unknown: 'It is not known yet whether the record is whole.',
};

function ProofPage({ record }: { record: LogRecord }) {
  return (
    <Page
      title="Proof"
      heading={SENTENCES[record.state]}
      lead="Do not take its word for it. Anybody who holds the owner’s root can check the whole record offline."
      aside={<AsOf at={record.as_of} subject="record" />}
    >
      {record.state === 'broken' && (
        <Note tone="bad" icon="alert" live>
          <strong>{record.words || 'An entry contradicts another.'}</strong>
          <p>Keep a copy now, by the download below. The owner’s check names the first entry that is wrong.</p>
        </Note>
      )}
      <Offline />
      <Section title="What such a check can say">
        <ul className="panel rows verdicts">
          <li>
            <State face={{ tone: 'good', icon: 'check', words: 'Proven' }} />
            <p>Every entry up to the last checkpoint is there, unaltered and in order, and fits what each device signed.</p>
          </li>
          <li>
            <State face={{ tone: 'bad', icon: 'cross', words: 'Contradicted' }} />
            <p>An entry was altered, removed, reordered or forked. The first such entry is named.</p>
          </li>
          <li>
            <State face={{ tone: 'quiet', icon: 'clock', words: 'Not known yet' }} />
            <p>What a device did after its newest signed word. It is shown as an age, never as good.</p>
          </li>
        </ul>
      </Section>
      <Heads devices={record.devices} />
      <Section title="The record as the server has it">
        <div className="panel panel-pad">
          <Facts
            facts={[
              ['State', <State key="state" face={faceOfRecord(record.state)} />],
              ['Entries', <span key="size" className="number">{sayCount(record.size)}</span>],
              ['Generation', String(record.generation)],
              ['Checkpoint', record.checkpoint && <pre key="point" className="checkpoint">{record.checkpoint.trim()}</pre>],
              ['Witnesses', <Witnesses key="witnesses" record={record} />],
            ]}
          />
        </div>
      </Section>
    </Page>
  );
}

function Witnesses({ record }: { record: LogRecord }) {
  if (record.witnesses.length === 0) {
    return <span className="quiet">None yet. Anybody whom the owner trusts can sign along: fleetward owner witness</span>;
  }
  return (
    <ul>
      {record.witnesses.map((witness) => (
        <li key={witness.name}>
          {witness.name}, <Age at={witness.at} />
        </li>
      ))}
    </ul>
  );
}

/** The server knows the root, and who believes it from the server would check nothing. */
const withoutRoot = (command: string | null | undefined): string | undefined =>
  command?.replace(/--root \S+/, '--root OWNER_ROOT');

function Offline() {
  const tour = useQuery({ queryKey: ['tour'], queryFn: api.tour, retry: false });
  const download = useMutation({
    mutationFn: async () => {
      const file = URL.createObjectURL(await api.exportRecord());
      const link = document.createElement('a');
      link.href = file;
      link.download = 'fleetward-record.tar';
      link.click();
      setTimeout(() => URL.revokeObjectURL(file), 60_000);
    },
  });
  return (
    <Section title="Check it yourself, offline">
      <ol className="panel rows check-steps">
        <li>
          <p>Take a copy of the record: here, or by the command line.</p>
          <div className="check-take">
            <Button leftSection={<Icon name="download" />} loading={download.isPending} onClick={() => download.mutate()}>
              Download the record
            </Button>
            <CopyLine
              text={tour.data?.facts.export_command ?? 'fleetward audit export --out record'}
              label="the command that exports the record"
            />
          </div>
          {download.error && <Failure failure={download.error} />}
        </li>
        <li>
          <p>
            Check the copy, without this server and without a network. The owner’s root is in the owner’s folder and on
            the owner’s console, page Policy: put it in place of OWNER_ROOT. Never take it from a page of this server.
          </p>
          <CopyLine
            text={withoutRoot(tour.data?.facts.verify_command) ?? 'fleetward audit verify record --root OWNER_ROOT'}
            label="the command that checks the record"
          />
        </li>
      </ol>
    </Section>
  );
}
