import { MantineProvider, localStorageColorSchemeManager } from '@mantine/core';
import type { ReactNode } from 'react';
import { readStyleNonce } from '../security/nonce';
import { makeTheme, takeVariables, type Program } from './theme';

const schemes = localStorageColorSchemeManager({ key: 'fleetward.look' });

export function Look({ program, children }: { program: Program; children: ReactNode }) {
  return (
    <MantineProvider
      theme={makeTheme(program)}
      defaultColorScheme="auto"
      colorSchemeManager={schemes}
      cssVariablesResolver={takeVariables}
      getStyleNonce={readStyleNonce}
    >
      {children}
    </MantineProvider>
  );
}
