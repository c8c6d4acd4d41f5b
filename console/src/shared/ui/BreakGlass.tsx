import { Chip } from './State';

/** The usual approvers were away: every page that tells of it says so. */
export function BreakGlass({ of }: { of: { break_glass: boolean } }) {
  if (!of.break_glass) return null;
  return (
    <Chip tone="bad" icon="alert">
      BREAK-GLASS
    </Chip>
  );
}
