import { CopyLine } from '../../shared/ui/Copy';

/** How a technician asks. It runs on his own computer: no page of this server holds a key. */
export function AskCommand({ device }: { device?: string }) {
  const text = `fleetward connect ${device ?? 'DEVICE'} --terminal --reason "WHY"`;
  return <CopyLine text={text} label="the command that asks for a session" />;
}
