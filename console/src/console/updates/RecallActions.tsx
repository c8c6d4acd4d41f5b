import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import type { Recall } from '../../api/types';
import { Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { changeCommand, deedsOf, type RecallDeed } from './recall';

const MAX_REASON = 500;

/** What somebody can do of a recall. Each is confirmed, and stands in the record. */
export function RecallActions({ recall }: { recall: Recall }) {
  const [asked, ask] = useState<RecallDeed | null>(null);
  const [open, setOpen] = useState(false);
  const [done, say] = useState('');
  return (
    <div className="rollout-actions">
      <div className="rollout-buttons">
        {deedsOf(recall).map((deed) => (
          <Button
            key={deed.verb}
            size="xs"
            variant={deed.verb === 'acknowledge' ? 'filled' : 'default'}
            onClick={() => {
              ask(deed);
              setOpen(true);
            }}
          >
            {deed.button}
          </Button>
        ))}
      </div>
      <p role="status" className="small rollout-done">{done}</p>
      <Modal opened={open} onClose={() => setOpen(false)} title={asked?.title} closeButtonProps={{ 'aria-label': 'Close' }} centered>
        {asked && (
          <Ask
            key={asked.verb}
            deed={asked}
            recall={recall}
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

function Ask({ deed, recall, onCancel, onDone }: { deed: RecallDeed; recall: Recall; onCancel: () => void; onDone: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const missing = deed.reason && reason.trim() === '';
  const act = useMutation({
    mutationFn: () => api.changeRecall(recall.id, deed.verb, reason.trim()),
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
      <p className="ask-name">{recall.title}</p>
      <p className="small">{deed.words}</p>
      <Textarea
        label="Why"
        description={deed.reason ? 'It stands in the record, with your name.' : 'If you like; it stands in the record, with your name.'}
        mt={16}
        autosize
        minRows={2}
        maxRows={5}
        maxLength={MAX_REASON}
        required={deed.reason}
        data-autofocus
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value.replaceAll('\n', ' '))}
      />
      <p className="small quiet rollout-same">The same in a terminal:</p>
      <CopyLine text={changeCommand(deed.verb, recall.id, reason || (deed.reason ? 'WHY' : ''))} label="the command that does the same" />
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
