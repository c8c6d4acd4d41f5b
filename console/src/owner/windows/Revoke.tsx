import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Ahead } from '../../api/ownerTypes';
import { Failure } from '../../shared/ui/Answer';

/** Taking a permission back: signed at once, done when every machine has signed so. */
export function Revoke({ item, title, onDone }: { item: Ahead; title: string; onDone: (words: string) => void }) {
  const [open, modal] = useDisclosure(false);
  return (
    <>
      <Button variant="default" onClick={modal.open} aria-label={`Take back: ${title}`}>
        Take back…
      </Button>
      <Modal opened={open} onClose={modal.close} title="Take this back?" centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <Ask
          item={item}
          title={title}
          onCancel={modal.close}
          onDone={(words) => {
            modal.close();
            onDone(words);
          }}
        />
      </Modal>
    </>
  );
}

function Ask({ item, title, onCancel, onDone }: { item: Ahead; title: string; onCancel: () => void; onDone: (words: string) => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => owner.revokeWindow({ standing: item.id, reason: reason.trim() }),
    onSuccess: async (said) => {
      onDone(said.words);
      await client.invalidateQueries({ queryKey: ['access'] });
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        revoke.mutate();
      }}
    >
      <p className="retire-name">{title}</p>
      <p className="small quiet">
        Who is inside by it is put out at once. A machine that is off takes it back when it is on again; until it has
        signed so, it is named here. You sign this with your key.
      </p>
      <Textarea label="Why" mt={16} autosize minRows={1} maxRows={4} maxLength={200} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      {revoke.error && (
        <div className="form-failure">
          <Failure failure={revoke.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button type="submit" color="alarm" loading={revoke.isPending}>
          Take back and sign
        </Button>
      </Group>
    </form>
  );
}
