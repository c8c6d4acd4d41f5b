import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

describe('the types of the API', () => {
  it('name the description that they were made from', () => {
    const digest = createHash('sha256').update(readFileSync(here('./openapi.json'))).digest('hex');
    expect(readFileSync(here('./schema.ts'), 'utf8')).toContain(`\n// SHA-256 of openapi.json: ${digest}\n`);
  });

  it('are what the generator makes of it, with nothing changed by hand', { timeout: 60_000 }, () => {
    execFileSync(process.execPath, [here('../../dev/make-schema.mjs'), '--check'], { stdio: 'pipe' });
  });
});
