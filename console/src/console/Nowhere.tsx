import { Link } from 'wouter';
import { Empty } from '../shared/ui/Answer';
import { Page } from '../shared/ui/Page';

export function Nowhere() {
  return (
    <Page title="There is no page here">
      <Empty title="The address names nothing that this program shows.">
        <Link href="/">Go to Today</Link>
      </Empty>
    </Page>
  );
}
