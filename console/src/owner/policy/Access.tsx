import type { AccessRules, OwnerState } from '../../api/ownerTypes';
import { sayLength } from '../../shared/time/time';
import { Section } from '../../shared/ui/Page';
import { Chip } from '../../shared/ui/State';

/** Who may ask for sessions, and for what; and who stands in when the approvers are away. */
export function Access({ state }: { state: OwnerState }) {
  const { access } = state.policy;
  return (
    <>
      <Section title="Who may ask for sessions">
        <Requesters of={access.requesters} />
      </Section>
      <Section title="What they may ask for">
        <div className="panel panel-pad">
          {access.rules.length > 0 ? (
            <Rules of={access.rules} />
          ) : (
            <p className="quiet small">
              Nothing. <span className="mono">fleetward owner policy access allow</span> changes that.
            </p>
          )}
          {access.sandbox_only && <p className="quiet small">Only on machines that put a session into a sandbox.</p>}
        </div>
      </Section>
      <Section title="When your approvers are away">
        <div className="panel panel-pad">
          <BreakGlass rules={access.break_glass} />
        </div>
      </Section>
    </>
  );
}

function Requesters({ of: people }: { of: AccessRules['requesters'] }) {
  return (
    <ul className="panel rows">
      {people.map((each) => (
        <li key={each.words} className="signer">
          <strong className="truncate" title={each.person}>{each.person}</strong>
          <ul>
            <li className="signer-key">
              <span className="quiet">{each.org || 'no organisation'}</span>
              <span>{each.words}</span>
              {each.may_delegate && <Chip>may send others</Chip>}
            </li>
          </ul>
        </li>
      ))}
      {people.length === 0 && (
        <li className="quiet small">
          Nobody. <span className="mono">fleetward owner policy requester add</span> names somebody.
        </li>
      )}
    </ul>
  );
}

function Rules({ of: rules }: { of: string[] }) {
  return (
    <ul className="session-scopes">
      {rules.map((rule) => <li key={rule}>{rule}</li>)}
    </ul>
  );
}

function BreakGlass({ rules }: { rules: AccessRules['break_glass'] }) {
  if (rules === null) {
    return (
      <p className="quiet small">
        Nobody breaks in: without your approvers nothing opens.{' '}
        <span className="mono">fleetward owner policy break-glass set</span> names who stands in for them.
      </p>
    );
  }
  return (
    <>
      <p>
        <strong>Break-glass:</strong> {rules.threshold} of {rules.people.join(', ')} say yes, for{' '}
        {sayLength(rules.seconds * 1000)} at most, and somebody presses at the machine.
      </p>
      <Rules of={rules.rules} />
    </>
  );
}
