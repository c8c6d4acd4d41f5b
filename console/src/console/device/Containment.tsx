import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import type { Device } from '../../api/types';
import { Failure } from '../../shared/ui/Answer';

const KINDS = {
  quarantine: {
    title: 'Quarantine this device?',
    button: 'Quarantine…',
    confirm: 'Quarantine it now',
    color: 'alarm',
    words:
      'It stays powered and goes on doing its work. This server stops talking with it, but for its evidence and its owner’s documents. You can let it back later.',
  },
  readmit: {
    title: 'Let this device back?',
    button: 'Readmit…',
    confirm: 'Let it back',
    color: undefined,
    words: 'This server talks with it again as with every other device.',
  },
} as const;

/** Quarantine and readmission: both ask why, and the reason stands in the record. */
export function Containment({ device }: { device: Device }) {
  const kind = device.state === 'quarantined' ? 'readmit' : 'quarantine';
  const [open, modal] = useDisclosure(false);
  if (!['active', 'pending', 'quarantined'].includes(device.state)) return null;
  return (
    <>
      <Button id="containment" variant="default" onClick={modal.open}>
        {KINDS[kind].button}
      </Button>
      <Modal
        opened={open}
        onClose={modal.close}
        title={KINDS[kind].title}
        closeButtonProps={{ 'aria-label': 'Close' }}
        centered
      >
        <Ask id={device.id} name={device.name} kind={kind} onDone={modal.close} />
      </Modal>
    </>
  );
}

function Ask({ id, name, kind, onDone }: { id: string; name: string; kind: keyof typeof KINDS; onDone: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const act = useMutation({
    mutationFn: () => api[kind](id, reason.trim()),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries();
    },
  });
  const { words, confirm, color } = KINDS[kind];
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (reason.trim() !== '') act.mutate();
      }}
    >
      <p className="ask-name">{name}</p>
      <p className="small quiet">{words}</p>
      <Textarea
        label="Why"
        description="It stands in the record, with your name."
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
      {act.error && (
        <div className="ask-failure">
          <Failure failure={act.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button variant="default" onClick={onDone}>
          Cancel
        </Button>
        <Button type="submit" color={color} loading={act.isPending} disabled={reason.trim() === ''}>
          {confirm}
        </Button>
      </Group>
    </form>
  );
}
