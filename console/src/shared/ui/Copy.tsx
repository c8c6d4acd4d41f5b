import { useState } from 'react';
import { Icon } from './Icon';

/** A join string has no words that anybody reads: a few lines of it say what it is. */
const LONG = 240;

/** Text to take along: a command, a join string. Selects itself where copying is not allowed. */
export function CopyLine({ text, label }: { text: string; label: string }) {
  const [said, say] = useState('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      say('Copied');
    } catch {
      say('Select it and copy');
    }
    setTimeout(() => say(''), 2_500);
  };
  return (
    <div className={text.length > LONG ? 'copy-line copy-long' : 'copy-line'}>
      <code>{text}</code>
      <button type="button" onClick={() => void copy()} aria-label={`Copy: ${label}`}>
        <Icon name={said === 'Copied' ? 'check' : 'copy'} />
        <span role="status">{said || 'Copy'}</span>
      </button>
    </div>
  );
}
