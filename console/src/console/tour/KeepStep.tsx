import type { Tour } from '../../api/types';
import { CopyLine } from '../../shared/ui/Copy';
import { Section } from '../../shared/ui/Page';
import { GOALS } from '../today/goal';
import { useGoal } from '../today/useGoal';

export function KeepStep({ tour }: { tour: Tour }) {
  const facts = tour.facts;
  const join = facts.join_command ?? 'fleetward-agent join STRING --data DIR';
  return (
    <>
      <p className="tour-lead">What you see is no toy: the same data goes on as your fleet. Let a second machine join, or start afresh.</p>
      <ol className="tour-todo">
        <li>
          <p>The owner makes an invitation, here or in the owner’s console, page Invite.</p>
          <CopyLine
            text={facts.invite_command ?? 'fleetward owner invite --site SITE --uses 1 --ttl 3600'}
            label="the command that makes an invitation"
          />
        </li>
        <li>
          <p>On the second machine, join with what it printed, and run.</p>
          <CopyLine text={join} label="the command that joins a machine" />
          <CopyLine text={join.replace(/ join .*$/, ' run --data DIR')} label="the command that runs the agent" />
        </li>
      </ol>
      <Section title="What should your home page put first?">
        <Goals />
      </Section>
      <Section title="Or start afresh">
        <p className="small quiet tour-caption">This removes everything that the demo made.</p>
        <CopyLine text={facts.reset_command ?? 'fleetward demo --reset'} label="the command that resets the demo" />
      </Section>
    </>
  );
}

function Goals() {
  const [goal, choose] = useGoal();
  return (
    <div className="goals" role="radiogroup" aria-label="What comes first">
      {GOALS.map((each) => (
        <label key={each.id}>
          <input type="radio" name="goal" checked={goal === each.id} onChange={() => choose(each.id)} />
          <span>
            <strong>{each.title}</strong> <span className="quiet">{each.words}</span>
          </span>
        </label>
      ))}
    </div>
  );
}
