import { Button, Group, Modal, Select, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import type { PersonRow, Role } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { Panel, Section, Truncate } from '../../shared/ui/Page';
import { Table, type Column } from '../../shared/ui/Table';
import { Revoke } from './Revoke';
import { ROLES, sayRole } from './roles';
import type { Secret } from './ShownOnce';

type OnSecret = (secret: Secret) => void;

const linkFor = async (person: { id: string; name: string }): Promise<Secret> => {
  const link = await api.loginLink(person.id);
  return { title: `The sign-in link of ${person.name}`, text: link.url, expires_at: link.expires_at };
};

function LinkButton({ person, onSecret }: { person: PersonRow; onSecret: OnSecret }) {
  const make = useMutation({ mutationFn: () => linkFor(person), onSuccess: onSecret });
  return (
    <Button variant="subtle" size="compact-sm" loading={make.isPending} onClick={() => make.mutate()} aria-label={`${make.error ? 'Refused, again' : 'New link'} for ${person.name}`}>
      {make.error ? 'Refused, again' : 'New link'}
    </Button>
  );
}

const columns = (onSecret: OnSecret, me: string | undefined): Column<PersonRow>[] => [
  {
    id: 'name',
    title: 'Name',
    width: 'minmax(0, 1.4fr)',
    cell: (row) => <Truncate text={row.id === me ? `${row.name} (you)` : row.name} strong />,
  },
  { id: 'role', title: 'May', width: 'minmax(0, 1fr)', cell: (row) => sayRole(row.role) },
  { id: 'seen', title: 'Last here', width: '120px', cell: (row) => <Age at={row.last_seen_at} /> },
  { id: 'link', title: 'Sign-in', width: '120px', cell: (row) => <LinkButton person={row} onSecret={onSecret} /> },
  {
    id: 'remove',
    title: 'Take back',
    width: '100px',
    cell: (row) =>
      row.id === me ? null : (
        <Revoke
          what={row.name}
          words="All sessions, passkeys and tokens of this person end now."
          verb="Remove"
          act={() => api.removePerson(row.id)}
          refresh={['persons']}
        />
      ),
  },
];

export function People({ onSecret, me }: { onSecret: OnSecret; me: string | undefined }) {
  const persons = useQuery({ queryKey: ['persons'], queryFn: api.persons });
  const [open, modal] = useDisclosure(false);
  return (
    <Section
      title="People"
      aside={
        <Button variant="default" size="xs" onClick={modal.open}>
          Add somebody…
        </Button>
      }
    >
      <Answer of={persons}>
        {(list) => (
          <Panel>
            <Table label="People" columns={columns(onSecret, me)} rows={list.items} keyOf={(row) => row.id} />
          </Panel>
        )}
      </Answer>
      <Modal opened={open} onClose={modal.close} title="Add somebody" centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <NewPerson
          onMade={(secret) => {
            modal.close();
            onSecret(secret);
          }}
        />
      </Modal>
    </Section>
  );
}

function NewPerson({ onMade }: { onMade: OnSecret }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const client = useQueryClient();
  const add = useMutation({
    mutationFn: async () => linkFor(await api.addPerson({ name: name.trim(), role })),
    onSuccess: onMade,
    onSettled: () => client.invalidateQueries({ queryKey: ['persons'] }),
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        add.mutate();
      }}
    >
      <TextInput label="Name" required maxLength={80} data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <Select label="May" mt={14} allowDeselect={false} data={ROLES} value={role} onChange={(value) => setRole((value ?? 'viewer') as Role)} />
      {add.error && (
        <div className="form-failure">
          <Failure failure={add.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button type="submit" loading={add.isPending} disabled={name.trim() === ''}>
          Add, and make a link
        </Button>
      </Group>
    </form>
  );
}
