import { useMantineColorScheme } from '@mantine/core';
import { Icon, type IconName } from '../ui/Icon';

const NEXT = { auto: 'light', light: 'dark', dark: 'auto' } as const;
const WORDS = { auto: 'As the system', light: 'Light', dark: 'Dark' } as const;
const ICONS: Record<keyof typeof NEXT, IconName> = { auto: 'contrast', light: 'sun', dark: 'moon' };

/** One button that goes round: as the system says, light, dark. */
export function LookToggle() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <button
      type="button"
      className="rail-button look-toggle"
      onClick={() => setColorScheme(NEXT[colorScheme])}
      aria-label={`Appearance: ${WORDS[colorScheme]}. Change to: ${WORDS[NEXT[colorScheme]]}`}
    >
      <Icon name={ICONS[colorScheme]} />
      <span>{WORDS[colorScheme]}</span>
    </button>
  );
}
