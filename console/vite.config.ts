import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Where each of the two programs is written; both folders are outside version control. */
const OUTPUTS: Record<string, string> = {
  console: here('../src/fleetward/server/web/static'),
  owner: here('../src/fleetward/keyholder/console/static'),
};

export default defineConfig(({ mode }) => {
  const program = mode === 'owner' ? 'owner' : 'console';
  return {
    root: here(mode === 'test' ? '.' : `./src/${program}`),
    publicDir: here(`./public/${program}`),
    base: '/',
    plugins: [react()],
    build: {
      outDir: OUTPUTS[program],
      emptyOutDir: true,
      // Everything is a file of its own: the content policy allows no data: addresses.
      assetsInlineLimit: 0,
      target: 'es2022',
      sourcemap: false,
      chunkSizeWarningLimit: 900,
      modulePreload: { polyfill: false },
    },
    test: { include: ['src/**/*.test.ts'], environment: 'node' },
  };
});
