import { useState } from 'react';
import { Icon } from './Icon';

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
    <div className="copy-line">
      <code>{text}</code>
      <button type="button" onClick={() => void copy()} aria-label={`Copy: ${label}`}>
        <Icon name={said === 'Copied' ? 'check' : 'copy'} />
        <span role="status">{said || 'Copy'}</span>
      </button>
    </div>
  );
}
