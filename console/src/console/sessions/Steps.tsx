import type { AccessStep } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { parseTime, sayClock } from '../../shared/time/time';
import { Icon, type IconName } from '../../shared/ui/Icon';

const ICONS: Record<string, IconName> = {
  request: 'person',
  offer: 'check',
  grant: 'policy',
  opened: 'session',
  receipt: 'proof',
  denial: 'block',
  stop: 'cross',
  notice: 'empty',
};

/** What happened to a request, the oldest first. */
export function Steps({ steps }: { steps: AccessStep[] }) {
  return (
    <ol className="panel rows steps">
      {steps.map((step, at) => {
        const moment = parseTime(step.at);
        return (
          <li key={`${step.at}${step.kind}${at}`}>
            <span className="step-mark">
              <Icon name={ICONS[step.kind] ?? 'empty'} />
            </span>
            <div className="step-words">
              {step.who && <strong>{step.who}: </strong>}
              {step.words}
            </div>
            <div className="step-when small quiet">
              {moment !== null && <span className="number">{sayClock(moment)}</span>}
              <Age at={step.at} />
            </div>
          </li>
        );
      })}
    </ol>
  );
}
