import type { Run } from '../../api/ownerTypes';
import { sayMinutes } from '../sessions/sayings';

/** What a runbook would do, step by step, with the arguments that were asked for. */
export function Steps({ run }: { run: Run }) {
  return (
    <div className="access-run">
      <p>
        <strong>{run.name} {run.version}</strong>
        {run.description && <>: {run.description}</>}
      </p>
      <ol className="access-steps">
        {run.steps.map((step, at) => (
          <li key={at}><code>{step}</code></li>
        ))}
      </ol>
      <p className="small quiet">
        One after another, as <strong>{run.run_as}</strong>, for {sayMinutes(run.seconds)} at most. The first step that fails is the last.
      </p>
    </div>
  );
}
