import { Button, FileButton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useCallback, useEffect, useState } from 'react';
import { technician } from '../../api/technicianClient';
import type { FileRow, Folder, Given, Visit } from '../../api/technicianTypes';
import { sayExact } from '../../shared/time/time';
import { Empty, Failure, Loading } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page, Panel } from '../../shared/ui/Page';
import { Table, type Column } from '../../shared/ui/Table';
import { saySize } from '../visit/sayings';
import { Transfers } from './Transfers';

const join = (folder: string, name: string): string => (folder === '' ? name : `${folder}/${name}`);

/** Files below the granted folder: look, fetch, put. */
export function Files({ visit, given }: { visit: Visit; given: Given[] }) {
  const [place, setPlace] = useState(given[0]?.place ?? 0);
  const scope = given.find((each) => each.place === place) ?? given[0];
  return (
    <Page title="Files" heading={`Files of ${visit.machine}`} lead={scope?.words}>
      {given.length > 1 && (
        <div className="tech-actions">
          {given.map((each) => (
            <Button key={each.place} size="xs" variant={each.place === place ? 'filled' : 'default'} onClick={() => setPlace(each.place)}>
              {each.name}
            </Button>
          ))}
        </div>
      )}
      {scope && <Below key={scope.place} scope={scope} open={visit.phase === 'open'} />}
    </Page>
  );
}

function useFolder(place: number, path: string) {
  const [state, setState] = useState<{ folder: Folder | null; failure: unknown }>({ folder: null, failure: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let over = false;
    technician.folder(place, path).then(
      (folder) => !over && setState({ folder, failure: null }),
      (failure: unknown) => !over && setState({ folder: null, failure }),
    );
    return () => {
      over = true;
    };
  }, [place, path, turn]);
  return { ...state, again: useCallback(() => setTurn((old) => old + 1), []) };
}

function Below({ scope, open }: { scope: Given; open: boolean }) {
  const [path, setPath] = useState('');
  const { folder, failure, again } = useFolder(scope.place, path);
  const [trouble, setTrouble] = useState<unknown>(null);
  const transfers = useQuery({ queryKey: ['transfers'], queryFn: technician.transfers });
  const left = Math.max(0, scope.most_bytes - (transfers.data?.moved[String(scope.place)] ?? 0));
  const free = open && !transfers.data?.items.some((each) => each.state === 'moving');
  const fetchFile = async (row: FileRow): Promise<void> => {
    setTrouble(null);
    try {
      const ticket = await technician.fetchFile(scope.place, join(path, row.name));
      const link = document.createElement('a');
      link.href = ticket.address;
      link.download = ticket.name;
      link.click();
    } catch (cause) {
      setTrouble(cause);
    }
  };
  const putFiles = async (files: File[]): Promise<void> => {
    setTrouble(null);
    for (const file of files) {
      try {
        await technician.putFile(scope.place, join(path, file.name), file);
      } catch (cause) {
        setTrouble(cause);
      }
    }
    again();
  };
  return (
    <>
      <div className="tech-bar">
        <Steps root={scope.name} path={path} onGo={setPath} />
        <div className="tech-actions">
          <Button variant="default" size="xs" disabled={!open} onClick={again}>Look again</Button>
          {scope.mode === 'write' && (
            <FileButton onChange={(files) => void putFiles(files)} multiple>
              {(props) => <Button {...props} size="xs" disabled={!free}>Put files here…</Button>}
            </FileButton>
          )}
        </div>
      </div>
      <p className="small quiet number tech-under">{saySize(left)} of {saySize(scope.most_bytes)} may still be moved in this session.</p>
      {trouble !== null && <div className="tech-under"><Failure failure={trouble} /></div>}
      {failure !== null ? <Failure failure={failure} again={again} /> : folder === null ? <Loading /> : (
        <Panel>
          {folder.items.length === 0 ? <Empty title="This folder is empty." /> : (
            <Table label={`Files in ${scope.name}/${path}`} rows={folder.items} keyOf={(row) => row.name}
              columns={columnsFor({ open, free }, (row) => setPath(join(path, row.name)), (row) => void fetchFile(row))} />
          )}
          {folder.odd > 0 && <p className="small quiet panel-pad">{folder.odd} names that no file can have were left out.</p>}
        </Panel>
      )}
      <Transfers list={transfers.data?.items ?? []} />
    </>
  );
}

function Steps({ root, path, onGo }: { root: string; path: string; onGo: (path: string) => void }) {
  const steps = path === '' ? [] : path.split('/');
  return (
    <nav aria-label="Folder" className="tech-steps-path mono">
      <button type="button" className="text-button" onClick={() => onGo('')}>{root}</button>
      {steps.map((step, at) => (
        <span key={at}>
          {' / '}
          <button type="button" className="text-button" onClick={() => onGo(steps.slice(0, at + 1).join('/'))}>
            <bdi>{step.replaceAll(/[\p{Cc}\p{Cf}]/gu, '·')}</bdi>
          </button>
        </span>
      ))}
    </nav>
  );
}

function columnsFor({ open, free }: { open: boolean; free: boolean }, go: (row: FileRow) => void, fetchFile: (row: FileRow) => void): Column<FileRow>[] {
  return [
    {
      id: 'name', title: 'Name', width: 'minmax(0, 1fr)',
      cell: (row) => row.kind === 'folder' ? (
        <button type="button" className="text-button tech-name" disabled={!open} onClick={() => go(row)}>
          <Icon name="right" /> <bdi>{row.shown}</bdi>
        </button>
      ) : <bdi className="tech-name">{row.shown}</bdi>,
    },
    { id: 'size', title: 'Size', width: '96px', end: true, cell: (row) => <span className="number">{row.kind === 'file' ? saySize(row.size) : row.kind}</span> },
    { id: 'changed', title: 'Changed', width: '220px', cell: (row) => <span className="small quiet">{row.modified > 0 ? sayWhen(row.modified) : ''}</span> },
    {
      id: 'fetch', title: 'Fetch', width: '92px', end: true,
      cell: (row) => row.kind === 'file' ? (
        <Button variant="subtle" size="compact-sm" disabled={!free} aria-label={`Fetch ${row.shown}`} onClick={() => fetchFile(row)}>Fetch</Button>
      ) : null,
    },
  ];
}

function sayWhen(seconds: number): string {
  const at = seconds > 1e11 ? seconds : seconds * 1000;
  return at > 8.64e15 ? '' : sayExact(at);
}
