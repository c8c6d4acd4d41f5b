import { Button, Checkbox, Group, Select, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { ClosedSigned, ClosingMachine } from '../../api/ownerTypes';
import { readPorts } from '../../shared/closing/tiers';
import { Age } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { Dialog } from './Dialog';

const LENGTHS = [
  { value: '120', label: '2 minutes' },
  { value: '600', label: '10 minutes' },
  { value: '3600', label: '1 hour' },
  { value: '28800', label: '8 hours' },
];

interface CloseFormProps {
  machines: ClosingMachine[];
  onDone: (done: ClosedSigned) => void;
}

/** What to close on the chosen machines, who would be cut off, and the signature. */
export function CloseForm({ machines, onDone }: CloseFormProps) {
  const [open, modal] = useDisclosure(false);
  return (
    <>
      <Button disabled={machines.length === 0} onClick={modal.open}>
        Close…
      </Button>
      <Dialog opened={open} onClose={modal.close} title={sayTitle(machines)} wide>
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

const sayTitle = (machines: ClosingMachine[]): string =>
  machines.length === 1 ? `Close what is open on ${machines[0]?.name ?? ''}` : `Close what is open on ${machines.length} machines`;

function Ask({ machines, onDone, onCancel }: CloseFormProps & { onCancel: () => void }) {
  const [ssh, setSsh] = useState(true);
  const [telnet, setTelnet] = useState(true);
  const [tcp, setTcp] = useState('');
  const [udp, setUdp] = useState('');
  const [seconds, setSeconds] = useState('600');
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const ports = readPorts(tcp);
  const datagrams = readPorts(udp);
  const named = ssh || telnet || (ports?.length ?? 0) + (datagrams?.length ?? 0) > 0;
  const close = useMutation({
    mutationFn: () =>
      owner.close({
        devices: machines.map((machine) => machine.id),
        everywhere: false,
        tcp: ports ?? [],
        udp: datagrams ?? [],
        local_access: [...(ssh ? (['ssh'] as const) : []), ...(telnet ? (['telnet'] as const) : [])],
        restore_seconds: Number(seconds),
        reason: reason.trim(),
      }),
    onSuccess: async (done) => {
      onDone(done);
      await client.invalidateQueries({ queryKey: ['closing'] });
    },
  });
  const wanted = [...(ports ?? []), ...(ssh ? [22] : []), ...(telnet ? [23] : [])];
  return (
    <form
      className="closing-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (named && ports !== null && datagrams !== null) close.mutate();
      }}
    >
      <p className="small quiet">
        This is all that will be closed there: what you do not name is open. The machine’s own connections, and what its
        maker says it needs, stay.
      </p>
      <Group>
        <Checkbox label="SSH, wherever it waits" checked={ssh} onChange={(event) => setSsh(event.currentTarget.checked)} />
        <Checkbox label="Telnet" checked={telnet} onChange={(event) => setTelnet(event.currentTarget.checked)} />
      </Group>
      <div className="confirm-names">
        <TextInput label="TCP ports" placeholder="8080, 5900" value={tcp} error={ports === null ? 'Numbers from 1 to 65535, with commas' : undefined} onChange={(event) => setTcp(event.currentTarget.value)} />
        <TextInput label="UDP ports" placeholder="161" value={udp} error={datagrams === null ? 'Numbers from 1 to 65535, with commas' : undefined} onChange={(event) => setUdp(event.currentTarget.value)} />
      </div>
      <Connected machines={machines} wanted={wanted} />
      <div className="confirm-names">
        <Select label="Opens again unless you keep it within" allowDeselect={false} data={LENGTHS} value={seconds} onChange={(value) => setSeconds(value ?? '600')} />
        <TextInput label="Why" maxLength={200} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      </div>
      {close.error && <Failure failure={close.error} />}
      <Group justify="flex-end">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button type="submit" color="alarm" loading={close.isPending} disabled={!named || ports === null || datagrams === null}>
          Close and sign
        </Button>
      </Group>
    </form>
  );
}

const SHOWN = 12;

/** Who would be cut off, as the machines reported last. */
function Connected({ machines, wanted }: { machines: ClosingMachine[]; wanted: number[] }) {
  const lines = machines.flatMap((machine) =>
    machine.peers
      .filter((peer) => wanted.includes(peer.port))
      .map((peer) => ({ key: `${machine.id} ${peer.address} ${peer.port}`, machine, peer })),
  );
  const silent = machines.filter((machine) => machine.peers_at === null).length;
  return (
    <section aria-labelledby="cut-title" className="closing-cut">
      <h3 id="cut-title">Would be cut off</h3>
      {lines.length === 0 && silent < machines.length && <p className="small">Nobody who is known to be connected.</p>}
      {lines.length > 0 && (
        <ul className="small">
          {lines.slice(0, SHOWN).map(({ key, machine, peer }) => (
            <li key={key}>
              <span className="mono">{peer.address}</span> on port {peer.port} of {machine.name}, as of <Age at={machine.peers_at} />
            </li>
          ))}
          {lines.length > SHOWN && <li>and {lines.length - SHOWN} more</li>}
        </ul>
      )}
      {silent > 0 && (
        <p className="small quiet">
          {silent === 1 ? 'One machine has' : `${silent} machines have`} not said that anybody is connected.
        </p>
      )}
    </section>
  );
}
