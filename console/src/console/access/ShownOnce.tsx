import { Button } from '@mantine/core';
import { Age } from '../../shared/time/AsOf';
import { CopyLine } from '../../shared/ui/Copy';
import { Note } from '../../shared/ui/State';

export interface Secret {
  title: string;
  text: string;
  expires_at: string;
}

/** A secret is shown this once; the server keeps only its hash. */
export function ShownOnce({ secret, onDone }: { secret: Secret; onDone: () => void }) {
  return (
    <Note tone="accent" icon="access" live>
      <strong>{secret.title}</strong>
      <p className="small">
        It is shown only this once. It ends <Age at={secret.expires_at} />.
      </p>
      <div className="once">
        <CopyLine text={secret.text} label={secret.title} />
        <Button variant="default" onClick={onDone}>
          I have kept it
        </Button>
      </div>
    </Note>
  );
}
