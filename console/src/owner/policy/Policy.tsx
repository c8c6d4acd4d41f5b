import { useQuery } from '@tanstack/react-query';
import { owner } from '../../api/ownerClient';
import type { OwnerKey, OwnerState } from '../../api/ownerTypes';
import { AsOf } from '../../shared/time/AsOf';
import { useNow } from '../../shared/time/now';
import { parseTime, sayExact, sayLength } from '../../shared/time/time';
import { Answer } from '../../shared/ui/Answer';
import { Facts, Page, Section } from '../../shared/ui/Page';
import { Chip } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';
import { Access } from './Access';
import { Passkeys } from './Passkeys';
import { Recoveries } from './Recovery';
import { sayScope } from './scopes';

/** Who may sign what, and by which roots machines know everybody else. */
export function Policy() {
  const state = useQuery({ queryKey: ['state'], queryFn: owner.state });
  return (
    <Answer of={state} title="Policy">
      {(data) => (
        <Page
          title="Policy"
          heading="Who can sign for you?"
          lead="Machines believe these keys and no others. A new version must be signed by the people of this one."
          aside={<AsOf at={new Date(state.dataUpdatedAt).toISOString()} subject="page" label="read" />}
        >
          <Recoveries state={data} />
          <PeopleAndKeys state={data} />
          <Passkeys state={data} />
          <Access state={data} />
          <Roots state={data} />
          <Documents state={data} />
        </Page>
      )}
    </Answer>
  );
}

function PeopleAndKeys({ state }: { state: OwnerState }) {
  return (
    <ul className="panel rows">
      {state.policy.people.map((each) => (
        <li key={each.person} className="signer">
          <strong className="truncate" title={each.person}>{each.person}</strong>
          <ul>
            {each.keys.map((key) => (
              <Key key={key.key_id} of={key} />
            ))}
          </ul>
        </li>
      ))}
    </ul>
  );
}

function Key({ of: key }: { of: OwnerKey }) {
  return (
    <li className="signer-key">
      <span className="mono">{key.key_id}</span>
      <Chip>{key.suite === 'webauthn' ? 'passkey' : key.suite}</Chip>
      {key.scopes.map((scope) => <Chip key={scope} tone="accent">{sayScope(scope)}</Chip>)}
    </li>
  );
}

function Roots({ state }: { state: OwnerState }) {
  const { roots, thresholds } = state.policy;
  return (
    <>
      {thresholds.length > 0 && (
        <Section title="How many people it takes">
          <div className="panel panel-pad">
            <Facts facts={thresholds.map((each) => [sayScope(each.scope), `${each.people} ${each.people === 1 ? 'person' : 'people'}`])} />
          </div>
        </Section>
      )}
      <Section title="Whom else machines know by it">
        <div className="panel panel-pad">
          {roots.length > 0 ? (
            <Facts facts={roots.map((root) => [root.name, <span key={root.name} className="mono">{root.value}</span>])} />
          ) : (
            <p className="quiet small">This policy names no other root yet.</p>
          )}
        </div>
      </Section>
    </>
  );
}

function Documents({ state }: { state: OwnerState }) {
  const now = useNow();
  const lease = parseTime(state.head.lease_until);
  const left = lease === null ? null : lease - now;
  const mono = (text: string) => <span className="mono">{text}</span>;
  return (
    <Section title="Your documents">
      <div className="panel panel-pad">
        <Facts
          facts={[
            ['Root', mono(state.owner_root)],
            ['Policy', <span key="policy">version {state.policy.version}, epoch {state.policy.epoch}, {mono(state.policy.hash)}</span>],
            ['Roster', <span key="roster">version {state.roster.version}, {sayCount(state.roster.count)} {state.roster.count === 1 ? 'machine' : 'machines'}, {mono(state.roster.hash)}</span>],
            ['Head', <span key="head">version {state.head.version}, {mono(state.head.hash)}</span>],
            [
              'Lease',
              lease === null || left === null ? null : (
                <span key="lease" title={sayExact(lease)} className={left <= 0 ? 'tone-bad toned' : undefined}>
                  {left > 0 ? `good for ${sayLength(left)} more` : `ended ${sayLength(-left)} ago: machines refuse new orders until you renew it`}
                </span>
              ),
            ],
          ]}
        />
      </div>
    </Section>
  );
}
