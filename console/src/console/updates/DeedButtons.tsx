import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';

/** What somebody can do of something. */
export interface DeedOf<Verb extends string> {
  verb: Verb;
  button: string;
  title: string;
  /** What happens, and what does not. */
  words: string;
  confirm: string;
  /** Said when it is done. */
  done: string;
  /** Whether the record wants to know why. */
  reason: boolean;
  alarm?: boolean;
}

interface Of<Verb extends string> {
  /** What it is done to. */
  name: string;
  mostReason: number;
  change: (verb: Verb, reason: string) => Promise<unknown>;
  command: (verb: Verb, reason: string) => string;
}

interface Props<Verb extends string> extends Of<Verb> {
  deeds: DeedOf<Verb>[];
  /** The verb of the button that stands out. */
  first?: Verb;
  /** Whether the buttons say for a screen reader what they are about: where several such rows stand on a page. */
  isNamed?: boolean;
}

/** Buttons for what can be done. Each is confirmed, stands in the record, and says what came of it. */
export function DeedButtons<Verb extends string>({ deeds, first, isNamed = false, ...of }: Props<Verb>) {
  const [asked, ask] = useState<DeedOf<Verb> | null>(null);
  const [open, setOpen] = useState(false);
  const [done, say] = useState('');
  const show = (deed: DeedOf<Verb>): void => {
    ask(deed);
    setOpen(true);
  };
  return (
    <div className="rollout-actions">
      {deeds.length > 0 && (
        <div className="rollout-buttons">
          {deeds.map((deed) => (
            <Button key={deed.verb} size="xs" variant={deed.verb === first ? 'filled' : 'default'} onClick={() => show(deed)} aria-label={isNamed ? `${deed.button} ${of.name}` : undefined}>
              {deed.button}
            </Button>
          ))}
        </div>
      )}
      <p role="status" className="small rollout-done">{done}</p>
      <Modal opened={open} onClose={() => setOpen(false)} title={asked?.title} closeButtonProps={{ 'aria-label': 'Close' }} centered>
        {asked && (
          <Ask
            key={asked.verb}
            deed={asked}
            of={of}
            onCancel={() => setOpen(false)}
            onDone={() => {
              setOpen(false);
              say(asked.done);
            }}
          />
        )}
      </Modal>
    </div>
  );
}

function Ask<Verb extends string>({ deed, of, onCancel, onDone }: { deed: DeedOf<Verb>; of: Of<Verb>; onCancel: () => void; onDone: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const missing = deed.reason && reason.trim() === '';
  const act = useMutation({
    mutationFn: () => of.change(deed.verb, reason.trim()),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries({ queryKey: ['updates'] });
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (!missing) act.mutate();
      }}
    >
      <p className="ask-name">{of.name}</p>
      <p className="small">{deed.words}</p>
      <Textarea
        label="Why"
        description={deed.reason ? 'It stands in the record, with your name.' : 'If you like; it stands in the record, with your name.'}
        mt={16}
        autosize
        minRows={2}
        maxRows={5}
        maxLength={of.mostReason}
        required={deed.reason}
        data-autofocus
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value.replaceAll('\n', ' '))}
      />
      <p className="small quiet rollout-same">The same in a terminal:</p>
      <CopyLine text={of.command(deed.verb, reason || (deed.reason ? 'WHY' : ''))} label="the command that does the same" />
      {act.error && (
        <div className="ask-failure">
          <Failure failure={act.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button variant="default" onClick={onCancel}>
          Leave it
        </Button>
        <Button type="submit" color={deed.alarm ? 'alarm' : undefined} loading={act.isPending} disabled={missing}>
          {deed.confirm}
        </Button>
      </Group>
    </form>
  );
}
