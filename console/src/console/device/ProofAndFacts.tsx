import { Link } from 'wouter';
import type { Device } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Facts, Section } from '../../shared/ui/Page';
import { sayCount } from '../../shared/ui/Table';
import { sayWall } from './sayings';

const hash = (text: string | null) =>
  text === null ? null : <span className="mono">{text}</span>;
const count = (value: number | null) => (value === null ? null : <span className="number">{sayCount(value)}</span>);

/** What the device has proven of itself, and where each raw fact stands. */
export function ProofAndFacts({ device, silent }: { device: Device; silent: boolean }) {
  const { proof, identity, certificate, software, sight } = device;
  return (
    <Section
      title="Proof and raw facts"
      aside={<AsOf at={proof.head_at} subject="record" silent={silent} label="last signed" never="not signed yet" />}
    >
      <div className="panel rows">
        <div className="panel-pad">
          <Facts
            facts={[
              ['Sight', sight.words],
              ['Wall', sayWall(device.wall)],
              ['Device id', hash(device.id)],
              ['Identity key', hash(identity.key_id)],
              ['Kind of key', identity.suite],
              ['Certificate ends', certificate.not_after && <Age at={certificate.not_after} />],
              ['Certificates so far', count(certificate.lineage)],
              ['Own record, last entry', count(proof.last_sequence)],
              ['Own record, signed head', hash(proof.journal_head)],
              ['Owner’s record, last entry', count(proof.last_leaf)],
              ['Inventory', hash(software.inventory_digest)],
            ]}
          />
        </div>
        <p className="pair-foot links">
          <Link href={`/devices/${device.id}/facts`}>All raw facts</Link>
          <Link href="/proof">How to check it offline</Link>
        </p>
      </div>
    </Section>
  );
}
