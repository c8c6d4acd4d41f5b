import type { ReactNode } from 'react';
import { Icon, type IconName } from './Icon';

export type Tone = 'good' | 'warn' | 'bad' | 'quiet' | 'accent';

export interface Face {
  tone: Tone;
  icon: IconName;
  words: string;
}

/** A state is a shape and a word; the colour only helps. */
export function State({ face, title }: { face: Face; title?: string }) {
  return (
    <span className={`state tone-${face.tone}`} title={title}>
      <Icon name={face.icon} />
      {face.words}
    </span>
  );
}

export function Chip({ tone = 'quiet', icon, children }: { tone?: Tone; icon?: IconName; children: ReactNode }) {
  return (
    <span className={`chip tone-${tone}`}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </span>
  );
}

export function Note({ tone, icon, children, live = false }: { tone: Tone; icon: IconName; children: ReactNode; live?: boolean }) {
  return (
    <div className={`note tone-${tone}`} role={live ? 'alert' : undefined}>
      <Icon name={icon} />
      <div>{children}</div>
    </div>
  );
}
