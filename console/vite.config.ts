import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Where each of the three programs is written; both folders are outside version control. */
const OUTPUTS: Record<string, string> = {
  console: here('../src/fleetward/server/web/static'),
  owner: here('../src/fleetward/keyholder/console/static'),
  technician: here('../src/fleetward/keyholder/technician/static'),
};

/** The pages of a program; the technician's has a second one, the terminal's frame. */
const inputsOf = (program: string): string[] =>
  (program === 'technician' ? ['index.html', 'terminal.html'] : ['index.html']).map((name) => here(`./src/${program}/${name}`));

export default defineConfig(({ mode }) => {
  const program = mode in OUTPUTS ? mode : 'console';
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
      rolldownOptions: { input: inputsOf(program) },
    },
    test: { include: ['src/**/*.test.ts'], environment: 'node' },
  };
});
