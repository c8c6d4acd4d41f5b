import type { Property } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { faceOfProperty, fade } from '../../shared/words/faces';

/** The seven properties of a device that can be trusted: what was seen of each, and one next step. */
export function Properties({ properties, silent }: { properties: Property[]; silent: boolean }) {
  if (properties.length === 0) return null;
  return (
    <Section title="Seven properties">
      <ul className="panel rows">
        {properties.map((property) => (
          <li key={property.id} className="property">
            <div className="property-name">
              <strong>{property.name}</strong>
              <State face={fade(faceOfProperty(property.state), silent)} />
            </div>
            <div className="property-words">
              {property.evidence.map((each) => (
                <p key={each.words}>
                  {each.words} <AsOf at={each.as_of} subject="software" silent={silent} never="" />
                </p>
              ))}
              {property.evidence.length === 0 && <p className="quiet">No evidence yet.</p>}
              {property.next && (
                <p className="property-next">
                  <strong>Next:</strong> {property.next}
                </p>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Section>
  );
}
