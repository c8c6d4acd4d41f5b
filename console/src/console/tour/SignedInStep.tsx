import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import { Age } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Facts } from '../../shared/ui/Page';
import { sayRole } from '../access/roles';

export function SignedInStep() {
  const session = useQuery({ queryKey: ['session'], queryFn: api.session, staleTime: 300_000 });
  return (
    <>
      <p className="tour-lead">
        One click, no password. The link that brought you here works no more; another is made by{' '}
        <code>fleetward login-link</code> on the server’s own computer.
      </p>
      <Answer of={session}>
        {(data) => (
          <div className="panel panel-pad">
            <Facts
              facts={[
                ['You are', data.person.name],
                ['You may', sayRole(data.person.role)],
                ['This visit ends', data.expires_at && <Age at={data.expires_at} />],
                ['Passkey', data.passkey.registered ? 'Kept by your device' : 'None yet; it may wait'],
              ]}
            />
          </div>
        )}
      </Answer>
    </>
  );
}
