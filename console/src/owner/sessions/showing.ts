import type { RecordedEvent } from '../../api/ownerTypes';
import { Screen } from '../../shared/terminal/screen';
import { readSize } from './sayings';

/** What a recording shows at one moment: a screen, and what was done beside it. */
export interface Showing {
  screen: Screen;
  marks: { at: number; words: string }[];
}

export const makeShowing = (): Showing => ({ screen: new Screen(), marks: [] });

const MAX_MARKS = 500;

export function showEvents(showing: Showing, events: RecordedEvent[]): void {
  for (const [at, code, text] of events) {
    if (code === 'o') showing.screen.feed(text);
    else if (code === 'm') {
      showing.marks.push({ at, words: text });
      if (showing.marks.length > MAX_MARKS) showing.marks.shift();
    } else if (code === 'r') {
      const size = readSize(text);
      if (size) showing.screen.resize(...size);
    }
  }
}
