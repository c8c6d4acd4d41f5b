import { Link } from 'wouter';
import type { Device } from '../../api/types';
import { AsOf } from '../../shared/time/AsOf';
import { Facts, Section } from '../../shared/ui/Page';
import { Chip } from '../../shared/ui/State';
import { sayCount } from '../../shared/ui/Table';

const NOT_VISIBLE = <span className="quiet">Not visible</span>;

function Updates({ device }: { device: Device }) {
  const { pending, security } = device.software;
  if (security === null && pending === null) return NOT_VISIBLE;
  if (security) {
    return (
      <Chip tone="warn" icon="download">
        {sayCount(security)} for security{pending !== null && pending > security ? `, ${sayCount(pending)} in all` : ''}
      </Chip>
    );
  }
  return <>{pending ? `${sayCount(pending)}, none for security` : 'None waiting'}</>;
}

export function Software({ device, silent }: { device: Device; silent: boolean }) {
  const { software, id } = device;
  const base = `/devices/${id}`;
  return (
    <Section title="What runs on it" aside={<AsOf at={software.as_of} subject="software" silent={silent} />}>
      <div className="panel">
        <div className="panel-pad">
          {software.words && <p className="pair-words">{software.words}</p>}
          <Facts
            facts={[
              ['System', software.os || NOT_VISIBLE],
              ['Kernel', software.kernel || NOT_VISIBLE],
              [
                'Packages',
                software.packages === null ? (
                  NOT_VISIBLE
                ) : (
                  <Link href={`${base}/packages`}>{sayCount(software.packages)}</Link>
                ),
              ],
              ['Updates', <Updates key="updates" device={device} />],
            ]}
          />
        </div>
        <p className="pair-foot links">
          <Link href={`${base}/services`}>Services</Link>
          <Link href={`${base}/processes`}>Programs</Link>
          <Link href={`${base}/users`}>Who can log in</Link>
          <Link href={`${base}/hardening`}>Hardening</Link>
        </p>
      </div>
    </Section>
  );
}
