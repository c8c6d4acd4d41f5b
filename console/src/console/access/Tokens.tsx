import { Button, Group, Modal, Select, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import type { Role, Token } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer, Failure } from '../../shared/ui/Answer';
import { Panel, Section, Truncate } from '../../shared/ui/Page';
import { Table, type Column } from '../../shared/ui/Table';
import { Revoke } from './Revoke';
import { LIVES, ROLES, sayRole, sayScope } from './roles';
import type { Secret } from './ShownOnce';

const COLUMNS: Column<Token>[] = [
  { id: 'name', title: 'Name', width: 'minmax(0, 1.4fr)', cell: (row) => <Truncate text={row.name} strong /> },
  { id: 'role', title: 'May', width: 'minmax(0, 1fr)', cell: (row) => sayRole(row.role) },
  { id: 'scope', title: 'Sees', width: 'minmax(0, 1fr)', cell: (row) => <Truncate text={sayScope(row.scope)} /> },
  { id: 'used', title: 'Last used', width: '120px', cell: (row) => <Age at={row.last_used_at} /> },
  { id: 'ends', title: 'Ends', width: '110px', cell: (row) => <Age at={row.expires_at} /> },
  {
    id: 'revoke',
    title: 'Take back',
    width: '100px',
    cell: (row) => (
      <Revoke
        what={`the token ${row.name}`}
        words="Programs that use it are refused from now on."
        verb="Revoke"
        act={() => api.revokeToken(row.id)}
        refresh={['tokens']}
      />
    ),
  },
];

export function Tokens({ onSecret }: { onSecret: (secret: Secret) => void }) {
  const tokens = useQuery({ queryKey: ['tokens'], queryFn: api.tokens });
  const [open, modal] = useDisclosure(false);
  return (
    <Section
      title="Tokens of programs"
      aside={
        <Button variant="default" size="xs" onClick={modal.open}>
          New token…
        </Button>
      }
    >
      <Answer of={tokens}>
        {(list) =>
          list.items.length === 0 ? (
            <p className="quiet small">No program has a token.</p>
          ) : (
            <Panel>
              <Table label="Tokens" columns={COLUMNS} rows={list.items} keyOf={(row) => row.id} />
            </Panel>
          )
        }
      </Answer>
      <Modal opened={open} onClose={modal.close} title="A new token" centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <NewToken
          onMade={(secret) => {
            modal.close();
            onSecret(secret);
          }}
        />
      </Modal>
    </Section>
  );
}

function NewToken({ onMade }: { onMade: (secret: Secret) => void }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [life, setLife] = useState('86400');
  const client = useQueryClient();
  const make = useMutation({
    mutationFn: () => api.createToken({ name: name.trim(), role, ttl_seconds: Number(life) }),
    onSuccess: async (made) => {
      onMade({ title: `The token ${name.trim()}`, text: made.token, expires_at: made.expires_at });
      await client.invalidateQueries({ queryKey: ['tokens'] });
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}
    >
      <TextInput
        label="Name"
        description="What it is for, so that it is known when to take it back."
        required
        maxLength={80}
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <Select label="May" mt={14} allowDeselect={false} data={ROLES} value={role} onChange={(value) => setRole((value ?? 'viewer') as Role)} />
      <Select label="Ends after" mt={14} allowDeselect={false} data={LIVES} value={life} onChange={(value) => setLife(value ?? '86400')} />
      {make.error && (
        <div className="form-failure">
          <Failure failure={make.error} />
        </div>
      )}
      <Group justify="flex-end" mt={20}>
        <Button type="submit" loading={make.isPending} disabled={name.trim() === ''}>
          Make the token
        </Button>
      </Group>
    </form>
  );
}
