import type { AccessDetail } from '../../api/types';
import { Changes } from '../../shared/changes/Changes';
import { CopyLine } from '../../shared/ui/Copy';
import { Section } from '../../shared/ui/Page';
import { Note } from '../../shared/ui/State';
import { sayNotCompared } from './sayings';

/** What the device says that changed; the owner's own tools compare it with the receipt. */
export function WhatChanged({ row }: { row: AccessDetail }) {
  if (row.state !== 'ended') return null;
  const short = row.id.slice(0, 12);
  const found = row.changes;
  return (
    <Section title="What changed on the device" aside={found && <span className="small quiet">{found.words}</span>}>
      {found === null ? (
        <Note tone="quiet" icon="hidden">
          <strong>Not compared.</strong>
          <p>{sayNotCompared(row.not_compared)}</p>
        </Note>
      ) : (
        <>
          <Changes
            findings={found.findings}
            changes={found.changes}
            left={found.left}
            notes={found.here ? found.notes : ['The whole list has not come yet.']}
          />
          <p className="small quiet changes-proof">
            This page shows what this server was given. Checked against the device’s signed receipt:
          </p>
          <CopyLine text={`fleetward owner session show ${short}`} label="the command that checks what changed" />
        </>
      )}
    </Section>
  );
}
