import type { Property } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { Words } from '../../shared/ui/Words';
import { faceOfProperty, fade } from '../../shared/words/faces';

const oldestOf = (times: (string | null)[]): string | null =>
  times.filter((time): time is string => time !== null).sort()[0] ?? null;

/** The seven properties of a device that can be trusted: what was seen of each, and one next step. */
export function Properties({ properties, silent, seen }: { properties: Property[]; silent: boolean; seen: boolean }) {
  if (properties.length === 0) return null;
  const oldest = oldestOf(properties.flatMap((property) => property.evidence.map((each) => each.as_of)));
  return (
    <Section
      title="Seven properties"
      aside={<AsOf at={seen ? oldest : null} subject="software" silent={silent} label="evidence as of" never="no evidence yet" />}
    >
      <ul className="panel rows">
        {properties.map((property) => (
          <li key={property.id} className="property">
            <div className="property-name">
              <strong>{property.name}</strong>
              <State face={fade(faceOfProperty(property.state), silent)} />
            </div>
            <div className="property-words">
              {property.evidence.map((each) => (
                <p key={each.words}><Words text={each.words} /></p>
              ))}
              {property.evidence.length === 0 && <p className="quiet">No evidence yet.</p>}
              {property.next && (
                <p className="property-next">
                  <strong>Next:</strong> <Words text={property.next} />
                </p>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Section>
  );
}
