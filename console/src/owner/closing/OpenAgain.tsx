import { Button, Group, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { ClosedSigned, ClosingMachine } from '../../api/ownerTypes';
import { Failure } from '../../shared/ui/Answer';
import { Dialog } from './Dialog';

interface OpenProps {
  machines: ClosingMachine[];
  onDone: (done: ClosedSigned) => void;
}

/** Opening all again cuts nobody off, so it holds at once. */
export function OpenAgain({ machines, onDone }: OpenProps) {
  const [open, modal] = useDisclosure(false);
  return (
    <>
      <Button variant="default" disabled={machines.length === 0} onClick={modal.open}>
        Open again…
      </Button>
      <Dialog opened={open} onClose={modal.close} title="Open all again?">
        <Ask
          machines={machines}
          onCancel={modal.close}
          onDone={(done) => {
            modal.close();
            onDone(done);
          }}
        />
      </Dialog>
    </>
  );
}

function Ask({ machines, onDone, onCancel }: OpenProps & { onCancel: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const openAll = useMutation({
    mutationFn: () =>
      owner.openAgain({
        devices: machines.map((machine) => machine.id),
        everywhere: false,
        tcp: [],
        udp: [],
        local_access: [],
        restore_seconds: 600,
        reason: reason.trim(),
      }),
    onSuccess: async (done) => {
      onDone(done);
      await client.invalidateQueries({ queryKey: ['closing'] });
    },
  });
  return (
    <form
      className="closing-form"
      onSubmit={(event) => {
        event.preventDefault();
        openAll.mutate();
      }}
    >
      <p className="small quiet">
        {machines.map((machine) => machine.name).slice(0, 5).join(', ')}
        {machines.length > 5 && ` and ${machines.length - 5} more`}: everything that you had closed there is open again,
        at once and without a trial.
      </p>
      <TextInput label="Why" maxLength={200} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      {openAll.error && <Failure failure={openAll.error} />}
      <Group justify="flex-end">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button type="submit" loading={openAll.isPending}>
          Open and sign
        </Button>
      </Group>
    </form>
  );
}
