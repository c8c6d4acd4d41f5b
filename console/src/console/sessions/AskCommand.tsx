import { CopyLine } from '../../shared/ui/Copy';

/** How a technician asks. It runs on his own computer: no page of this server holds a key. */
export function AskCommand({ device }: { device?: string }) {
  const text = `fleetward connect ${device ?? 'DEVICE'} --terminal --reason "WHY"`;
  return <CopyLine text={text} label="the command that asks for a session" />;
}

/** The same, with a page of the technician's own computer in the place of a terminal. */
export function AskInBrowser({ device }: { device: string }) {
  const text = `fleetward connect ${device} --terminal --browser --reason "WHY"`;
  return <CopyLine text={text} label="the command that asks for a session in the browser" />;
}

/** Going on with a request, on the computer on which it was made: its key is there alone. */
export function GoOnCommand({ device, request }: { device: string; request: string }) {
  const text = `fleetward connect ${device} --request ${request} --browser`;
  return <CopyLine text={text} label="the command that goes on with this request in the browser" />;
}
