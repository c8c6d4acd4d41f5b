import { sayClockOf } from './sayings';

/** What was done beside the terminal: streams, files, pages. */
export function Marks({ marks }: { marks: { at: number; words: string }[] }) {
  if (marks.length === 0) return null;
  return (
    <ol className="panel rows access-marks" aria-label="What was done">
      {marks.map((mark, at) => (
        <li key={at}>
          <span className="small quiet number">{sayClockOf(mark.at)}</span>
          <span>{mark.words}</span>
        </li>
      ))}
    </ol>
  );
}
