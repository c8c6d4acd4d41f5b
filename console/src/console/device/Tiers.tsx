import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import type { MachineClosing } from '../../api/types';
import { faceOfTier } from '../../shared/closing/tiers';
import { Age } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Panel, Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';

/** Encrypted, local access off, permission required: each with its evidence, and its age. */
export function Tiers({ id }: { id: string }) {
  const tiers = useQuery({ queryKey: ['device', id, 'tiers'], queryFn: () => api.tiers(id) });
  return (
    <Section title="Three tiers">
      <Answer of={tiers} lines={4}>
        {(data) => (
          <Panel>
            <ol className="rows tiers">
              {data.tiers.map((tier) => (
                <li key={tier.number} className="tier">
                  <span className="tier-title">
                    <span className="number quiet">{tier.number}</span> {tier.title}
                  </span>
                  <State face={faceOfTier(tier.state)} />
                  <span className="tier-words">
                    {tier.words}{' '}
                    {tier.as_of && (
                      <span className="small quiet">
                        As of <Age at={tier.as_of} />.
                      </span>
                    )}
                  </span>
                </li>
              ))}
            </ol>
            <Closed data={data} />
          </Panel>
        )}
      </Answer>
    </Section>
  );
}

function Closed({ data }: { data: MachineClosing }) {
  return (
    <p className="pair-foot small quiet">
      {data.closed === '' ? (
        'Its owner has ordered nothing closed here. He does so in his own console, page Closing.'
      ) : (
        <>
          Closed on the owner’s order: {data.closed}, as it signed <Age at={data.reported_at} />.
          {data.last_cut.length > 0 && ` Cut off then: ${data.last_cut.join(', ')}.`}
        </>
      )}
    </p>
  );
}
