import { TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'wouter';
import type { LogRecord } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Icon } from '../../shared/ui/Icon';
import { Panel, Section } from '../../shared/ui/Page';
import { Pager, Table, type Column } from '../../shared/ui/Table';
import { oldestFirst } from './oldestFirst';

const PER_PAGE = 20;
type Head = LogRecord['devices'][number];

const COLUMNS: Column<Head>[] = [
  {
    id: 'name',
    title: 'Device',
    width: 'minmax(0, 1fr)',
    cell: (row) => (
      <Link href={`/devices/${row.id}`} className="truncate" title={row.name}>
        {row.name}
      </Link>
    ),
  },
  {
    id: 'head',
    title: 'Newest signed word',
    width: '220px',
    cell: (row) => <Age at={row.head_at} never="none yet" />,
  },
];

/** How old the newest signed word of each device is: after it, nothing can be known. */
export function Heads({ devices }: { devices: Head[] }) {
  const [text, setText] = useState('');
  const [page, setPage] = useState(1);
  const found = oldestFirst(devices).filter((each) => each.name.toLowerCase().includes(text.toLowerCase()));
  const shown = found.slice((page - 1) * PER_PAGE, page * PER_PAGE);
  return (
    <Section title="How far each device’s word reaches">
      {devices.length > PER_PAGE && (
        <TextInput
          aria-label="Find a device"
          placeholder="Find a device"
          leftSection={<Icon name="search" />}
          maw={320}
          mb={12}
          value={text}
          onChange={(event) => {
            setText(event.currentTarget.value);
            setPage(1);
          }}
        />
      )}
      {found.length === 0 ? (
        <p className="quiet small">{devices.length === 0 ? 'No device has signed anything yet.' : 'No device by that name.'}</p>
      ) : (
        <Panel>
          <Table label="Devices and their newest signed word" columns={COLUMNS} rows={shown} keyOf={(row) => row.id} />
          <Pager page={page} perPage={PER_PAGE} total={found.length} noun={found.length === 1 ? 'device' : 'devices, oldest first'} onPage={setPage} />
        </Panel>
      )}
    </Section>
  );
}
