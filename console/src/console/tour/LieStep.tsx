import type { Tour } from '../../api/types';
import { CopyLine } from '../../shared/ui/Copy';

/** The check runs where this server cannot reach: in a terminal, or in the owner's console. */
export function LieStep({ tour }: { tour: Tour }) {
  const facts = tour.facts;
  const verify = facts.verify_command ?? 'fleetward audit verify record --root OWNER_ROOT';
  return (
    <>
      <p className="tour-lead">
        Take a copy of the record and check it, with no server and no network. Then change one character in the copy
        and check again: the check names the entry.
      </p>
      <ol className="tour-todo">
        <li>
          <p>Take a copy.</p>
          <CopyLine text={facts.export_command ?? 'fleetward audit export --out record'} label="the command that exports the record" />
        </li>
        <li>
          <p>Check it. It goes green. The long number is the owner’s root: compare it with the owner’s console, page Policy.</p>
          <CopyLine text={verify} label="the command that checks the record" />
        </li>
        <li>
          <p>Alter the copy{facts.alter_command ? '.' : ': change one character in any file under record/, with any editor.'}</p>
          {facts.alter_command && <CopyLine text={facts.alter_command} label="the command that alters the copy" />}
        </li>
        <li>
          <p>Check it again. It goes red, and names the entry that you changed.</p>
          <CopyLine text={verify} label="the command that checks the record, again" />
        </li>
      </ol>
    </>
  );
}
