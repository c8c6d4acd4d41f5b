/**
 * Writes src/api/schema.ts: the types of all that the server says, from src/api/openapi.json.
 *
 * `make openapi` writes that file from the server's code first. Only the components are written:
 * the addresses are named once, in src/api/client.ts. With --check it writes nothing, and fails
 * when schema.ts is not what it would write.
 */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import openapi, { astToString } from 'openapi-typescript';

const file = (name) => new URL(`../src/api/${name}`, import.meta.url);

const described = readFileSync(file('openapi.json'));
const digest = createHash('sha256').update(described).digest('hex');
const nodes = await openapi({ ...JSON.parse(described), paths: {} }, { emptyObjectsUnknown: true });
const types = astToString(nodes).match(/^export interface components [^]*?^}\n/m);
if (!types) throw new Error('expected the components of the API, and found none in what was made');

const schema = `// Made from openapi.json by \`make openapi\`; a change here is lost.
// SHA-256 of openapi.json: ${digest}

${types[0]}`;

if (!process.argv.includes('--check')) writeFileSync(file('schema.ts'), schema);
else if (readFileSync(file('schema.ts'), 'utf8') !== schema) {
  throw new Error('expected src/api/schema.ts to be made from openapi.json, and it is not: run `make openapi`');
}
