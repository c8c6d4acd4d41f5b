import { Button, Checkbox, NumberInput, Select, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { owner } from '../../api/ownerClient';
import type { Invitation } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Facts, Page } from '../../shared/ui/Page';

const LIVES = [
  { value: '900', label: '15 minutes' },
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '604800', label: '7 days' },
];

/** An invitation is a signed line of text; who has it can let a machine join until it ends. */
export function Invite() {
  const [site, setSite] = useState('');
  const [uses, setUses] = useState<number>(1);
  const [life, setLife] = useState('3600');
  const [preapproved, setPreapproved] = useState(false);
  const invite = useMutation({
    mutationFn: () => owner.invite({ site: site.trim(), uses, ttl_seconds: Number(life), preapproved }),
  });
  if (invite.data) return <Made invitation={invite.data} uses={uses} again={invite.reset} />;
  return (
    <Page title="Invite" heading="Which machines may join?" lead="You sign a line of text. Whoever types it on a machine lets that machine join, as often as you say and until it ends.">
      <form
        className="panel panel-pad invite-form"
        onSubmit={(event) => {
          event.preventDefault();
          invite.mutate();
        }}
      >
        <TextInput label="On which site" required maxLength={80} value={site} onChange={(event) => setSite(event.currentTarget.value)} />
        <div className="confirm-names">
          <NumberInput label="How many machines" min={1} max={10000} allowDecimal={false} clampBehavior="strict" value={uses} onChange={(value) => setUses(Math.max(1, Number(value) || 1))} />
          <Select label="Ends after" allowDeselect={false} data={LIVES} value={life} onChange={(value) => setLife(value ?? '3600')} />
        </div>
        <Checkbox
          label="Let them work before I compare their six words"
          description="They show as unconfirmed until you do. Leave it off where you can compare at once."
          checked={preapproved}
          onChange={(event) => setPreapproved(event.currentTarget.checked)}
        />
        {invite.error && <Failure failure={invite.error} />}
        <div>
          <Button type="submit" size="md" loading={invite.isPending} disabled={site.trim() === ''}>
            Sign an invitation
          </Button>
        </div>
      </form>
    </Page>
  );
}

function Made({ invitation, uses, again }: { invitation: Invitation; uses: number; again: () => void }) {
  return (
    <Page title="Invite" heading="Run this on the machine" lead="It carries where to join, and by which root the machine will know you. Nothing is trusted on first use.">
      <div className="invite-made">
        <CopyLine text={`fleetward-agent join ${invitation.join} --data DIR`} label="the command that joins a machine" />
        <p className="small quiet">Or only the join string:</p>
        <CopyLine text={invitation.join} label="the join string" />
        <Facts
          facts={[
            ['Good for', `${uses} ${uses === 1 ? 'machine' : 'machines'}`],
            ['Ends', <Age key="ends" at={invitation.expires_at} />],
            ['Your root', <span key="root" className="mono">{invitation.owner_root}</span>],
          ]}
        />
        <div>
          <Button variant="default" onClick={again}>
            Sign another
          </Button>
        </div>
      </div>
    </Page>
  );
}
