import { createTheme, type CSSVariablesResolver, type MantineColorsTuple, type MantineThemeOverride } from '@mantine/core';

const WATER: MantineColorsTuple = [
  '#e8f3f6', '#cfe4ea', '#a9d0db', '#7fc6da', '#4ba3bb',
  '#2b8aa6', '#1f7891', '#186d86', '#0f5c73', '#0a4759',
];
const PLUM: MantineColorsTuple = [
  '#f7ecf4', '#ecd5e6', '#dba8cf', '#c585b6', '#ae679e',
  '#9a5489', '#8c4a7c', '#844374', '#7a3e6d', '#5f2f54',
];
const INDIGO: MantineColorsTuple = [
  '#eceef9', '#d8dcf2', '#b6bee8', '#98a3df', '#7682cf',
  '#5b67bd', '#4c58ad', '#4550a4', '#3f4a9a', '#2f3876',
];
const ALARM: MantineColorsTuple = [
  '#fdecea', '#f9d2ce', '#f59a90', '#e6695d', '#d5453a',
  '#c5352b', '#bb2d23', '#b3281f', '#ac241c', '#8a1a14',
];

/** Mantine's dark greys, drawn to the dark paper and ink of base.css. */
const DARK: MantineColorsTuple = [
  '#e8ebed', '#c5ccd1', '#a3adb5', '#8a949c', '#3d464d',
  '#2f373d', '#22282d', '#1a1f23', '#14181b', '#0e1113',
];

/** Mantine takes its grounds and inks from base.css, so that there is one place for them. */
export const takeVariables: CSSVariablesResolver = () => {
  const shared = {
    '--mantine-color-body': 'var(--fw-surface)',
    '--mantine-color-text': 'var(--fw-ink)',
    '--mantine-color-dimmed': 'var(--fw-muted)',
    '--mantine-color-placeholder': 'var(--fw-muted)',
    '--mantine-color-error': 'var(--fw-bad)',
  };
  return { variables: {}, light: shared, dark: shared };
};

const FONT =
  "-apple-system, 'Segoe UI Variable Text', 'Segoe UI', Roboto, 'Noto Sans', Ubuntu, Cantarell, 'Liberation Sans', Arial, system-ui, sans-serif";

/** Colours, corners and letters for one program; the rest is in base.css. */
export type Program = 'console' | 'owner' | 'technician';

const COLOURS: Record<Program, string> = { console: 'water', owner: 'plum', technician: 'indigo' };

/** The head of a dialog is no banner of the page, of which there is one. */
const UNNAMED_HEAD = { defaultProps: { attributes: { header: { role: 'presentation' } } } };

export function makeTheme(program: Program): MantineThemeOverride {
  return createTheme({
    colors: { dark: DARK, water: WATER, plum: PLUM, indigo: INDIGO, alarm: ALARM },
    primaryColor: COLOURS[program],
    primaryShade: { light: 8, dark: 6 },
    defaultRadius: 8,
    fontFamily: FONT,
    cursorType: 'pointer',
    respectReducedMotion: true,
    focusRing: 'never',
    components: { Modal: UNNAMED_HEAD, Drawer: UNNAMED_HEAD },
  });
}
