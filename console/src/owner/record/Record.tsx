import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { owner } from '../../api/ownerClient';
import type { Verdict } from '../../api/ownerTypes';
import { AsOf } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { Page } from '../../shared/ui/Page';
import { Findings } from './Findings';

/** Is the record whole? Checked here, from the owner's root, trusting nobody. */
export function Record() {
  const verify = useMutation({ mutationFn: owner.verify });
  const run = (
    <Button size="md" loading={verify.isPending} variant={verify.data ? 'default' : 'filled'} onClick={() => verify.mutate()}>
      {verify.data ? 'Check again' : 'Check the record'}
    </Button>
  );
  return (
    <Page
      title="Record"
      heading={verify.data ? sayVerdict(verify.data) : 'Is the record whole?'}
      lead="This computer fetches the record and checks every entry from your root. It believes neither the server nor this page’s colours: the command below says the same."
      aside={<>{verify.data && <AsOf at={verify.data.as_of} subject="record" label="checked" />}</>}
    >
      {run}
      {verify.error && (
        <div className="form-failure">
          <Failure failure={verify.error} />
        </div>
      )}
      {verify.data && <Findings verdict={verify.data} />}
    </Page>
  );
}

export function sayVerdict(verdict: Verdict): string {
  if (verdict.contradicted.length > 0) return 'The record contradicts itself';
  return verdict.proven.length > 0 ? 'The record is whole, as far as it reaches' : 'Nothing can be said yet';
}
