import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { RosterEntry } from '../../api/ownerTypes';
import { Failure } from '../../shared/ui/Answer';

/** Taking a machine off the list cannot be undone, so it asks why and says what follows. */
export function Retire({ machine }: { machine: RosterEntry }) {
  const [open, modal] = useDisclosure(false);
  return (
    <>
      <Button variant="subtle" size="compact-sm" onClick={modal.open} aria-label={`Retire ${machine.name}`}>
        Retire…
      </Button>
      <Modal opened={open} onClose={modal.close} title="Retire this machine for good?" centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <Ask machine={machine} onDone={modal.close} />
      </Modal>
    </>
  );
}

function Ask({ machine, onDone }: { machine: RosterEntry; onDone: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const retire = useMutation({
    mutationFn: () => owner.retire({ device_id: machine.id, reason: reason.trim() }),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (reason.trim() !== '') retire.mutate();
      }}
    >
      <p className="retire-name">{machine.name}</p>
      <p className="small quiet">
        Its certificate ends and is not renewed. It can come back only as a new machine, with a new invitation. You
        sign this with the owner’s key.
      </p>
      <Textarea
        label="Why"
        mt={16}
        autosize
        minRows={2}
        maxRows={6}
        maxLength={500}
        required
        data-autofocus
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
      {retire.error && (
        <div className="form-failure">
          <Failure failure={retire.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button variant="default" onClick={onDone}>
          Cancel
        </Button>
        <Button type="submit" color="alarm" loading={retire.isPending} disabled={reason.trim() === ''}>
          Retire and sign
        </Button>
      </Group>
    </form>
  );
}
