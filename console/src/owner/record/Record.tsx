import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { owner } from '../../api/ownerClient';
import type { Finding, Verdict } from '../../api/ownerTypes';
import { sayLength } from '../../shared/time/time';
import { AsOf } from '../../shared/time/AsOf';
import { Failure } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Page, Section } from '../../shared/ui/Page';

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

const sayPlace = (finding: Finding): string =>
  [
    finding.entry === undefined || finding.entry === '' ? null : `Entry ${finding.entry}`,
    finding.device ? `of ${finding.device}` : null,
  ]
    .filter((part) => part !== null)
    .join(' ') || 'The record';

function Findings({ verdict }: { verdict: Verdict }) {
  return (
    <div aria-live="polite">
      {verdict.contradicted.length > 0 && (
        <Section title="Contradicted">
          <ul className="panel rows findings tone-bad">
            {verdict.contradicted.map((each) => (
              <li key={`${each.id}${each.entry}${each.words}`}>
                <Icon name="cross" />
                <div>
                  <strong className="toned">{sayPlace(each)}</strong>
                  <p>{each.words}</p>
                </div>
              </li>
            ))}
          </ul>
        </Section>
      )}
      {verdict.proven.length > 0 && (
        <Section title="Proven">
          <ul className="panel rows findings tone-good">
            {verdict.proven.map((each) => (
              <li key={`${each.id}${each.words}`}>
                <Icon name="check" />
                <p>{each.words}</p>
              </li>
            ))}
          </ul>
        </Section>
      )}
      {verdict.unknown.length > 0 && (
        <Section title="Cannot be known yet">
          <ul className="panel rows findings tone-quiet">
            {verdict.unknown.map((each) => (
              <li key={`${each.device}${each.words}`}>
                <Icon name="clock" />
                <div>
                  <p>{each.words}</p>
                  <p className="small quiet">
                    {each.device}
                    {each.age_seconds !== null && `, newest signed word ${sayLength(each.age_seconds * 1000)} old`}
                  </p>
                </div>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title="The same check, offline">
        <CopyLine text={verdict.command} label="the command that checks the record" />
      </Section>
    </div>
  );
}
