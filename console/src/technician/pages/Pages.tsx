import { Button } from '@mantine/core';
import type { Given, Visit } from '../../api/technicianTypes';
import { CopyLine } from '../../shared/ui/Copy';
import { Page } from '../../shared/ui/Page';

/** The machine's own web pages, each at a host of its own, and its plain ports. */
export function Pages({ visit, given }: { visit: Visit; given: Given[] }) {
  const open = visit.phase === 'open';
  return (
    <Page title="Web page" heading={`Pages of ${visit.machine}`} lead="They come from the machine, through the session, into a tab of their own. Your browser keeps them apart from this page and from everything else on this computer.">
      <div className="tech-list">
        {given.map((scope) => (
          <div key={scope.place} className="panel panel-pad tech-page">
            <h2>{scope.words.charAt(0).toUpperCase() + scope.words.slice(1)}</h2>
            {scope.mode === 'http' ? (
              <>
                <Button component="a" href={`${scope.address}/`} target="_blank" rel="noopener noreferrer" disabled={!open} data-disabled={!open || undefined} size="md">
                  Open it in a new tab
                </Button>
                <p className="small quiet">
                  It can load nothing from elsewhere, and a link of it to another address of this computer is not followed. A
                  sign-in there is yours and the machine’s; it is forgotten at the end.
                </p>
              </>
            ) : (
              <>
                <CopyLine text={scope.address} label={`the local address of port ${scope.name}`} />
                <p className="small quiet">Any program of this computer can use this address while the session is open.</p>
              </>
            )}
          </div>
        ))}
      </div>
    </Page>
  );
}
