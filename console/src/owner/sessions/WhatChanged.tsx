import { useQuery } from '@tanstack/react-query';
import { owner } from '../../api/ownerClient';
import type { Access } from '../../api/ownerTypes';
import { Changes } from '../../shared/changes/Changes';
import { Answer } from '../../shared/ui/Answer';
import { Section } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';

/** What changed during a session, as the owner's own program has checked it against the receipt. */
export function WhatChanged({ item }: { item: Access }) {
  const changed = useQuery({
    queryKey: ['access', item.id, 'changes'],
    queryFn: () => owner.changes(item.id),
    enabled: item.state === 'ended',
  });
  if (item.state !== 'ended') return null;
  return (
    <Section title="What changed on the machine">
      <Answer of={changed} lines={4} title="Session">
        {(data) => (
          <>
            {data.state === 'compared' ? (
              <Changes findings={data.findings} changes={data.changes} left={data.left} notes={data.notes} />
            ) : (
              <Note tone={data.state === 'false' ? 'bad' : 'quiet'} icon={data.state === 'false' ? 'alert' : 'hidden'}>
                <strong>{data.state === 'false' ? 'Not believed.' : 'Not known.'}</strong>
                <p>{data.words}</p>
              </Note>
            )}
            {data.state === 'compared' && (
              <p className="small quiet changes-proof">Checked here: it is what the machine’s signed receipt names.</p>
            )}
          </>
        )}
      </Answer>
    </Section>
  );
}
