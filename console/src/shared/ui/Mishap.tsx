import { Component, type ReactNode } from 'react';
import { Note } from './State';

/** A fault of this page itself: said plainly, and the rest of the program goes on. */
export class Mishap extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <Note tone="bad" icon="alert" live>
        <strong>This page could not be drawn.</strong>
        <p>
          What the server answered has another form than expected: the page and the server may be of different
          versions. Reload the page; if that does not help, the command line shows the same facts.
        </p>
      </Note>
    );
  }
}
