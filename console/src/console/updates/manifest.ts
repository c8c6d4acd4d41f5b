/** Reads a maker's manifest, to show it. It verifies nothing: machines and the owner's tools do. */

export interface PartView {
  name: string;
  installer: string;
  place: string;
  bytes: number;
  sha256: string;
  deltas: number;
}

export interface ManifestView {
  parts: PartView[];
  checks: string[];
  withinSeconds: number;
  steadySeconds: number;
  needs: string[];
  conflicts: string[];
  leastBefore: number;
  replacesAgent: boolean;
}

type Json = Record<string, unknown>;
const map = (value: unknown): Json => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {});
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(map) : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const count = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

const INSTALLERS: Record<string, string> = {
  directory: 'a folder',
  'file-slot': 'an image',
  rauc: 'a RAUC bundle',
  dpkg: 'Debian packages',
  agent: 'the agent itself',
};
export const sayInstaller = (installer: string): string => INSTALLERS[installer] ?? installer;

export function decodeBase64url(data: string): string {
  const bytes = Uint8Array.from(atob(data.replaceAll('-', '+').replaceAll('_', '/')), (each) => each.codePointAt(0) ?? 0);
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

/** What has to hold after the switch, in words. */
function sayCheck(check: Json): string {
  switch (check.kind) {
    case 'process':
      return `the process ${text(check.name)} runs`;
    case 'port':
      return `port ${count(check.port)} answers`;
    case 'http':
      return `http port ${count(check.port)} answers ${text(check.path)} with ${count(check.status)}`;
    case 'file':
      return `${text(check.path)} exists`;
    case 'command':
      return `${text(check.path)} ends well within ${count(check.seconds)} s`;
    default:
      return text(check.kind);
  }
}

/** Null for what is no manifest: then nothing of it is shown. */
export function readManifest(data: string): ManifestView | null {
  let value: Json;
  try {
    value = map(JSON.parse(decodeBase64url(data)));
  } catch {
    return null;
  }
  if (!Array.isArray(value.parts)) return null;
  const health = map(value.health);
  return {
    parts: list(value.parts).map((part) => ({
      name: text(part.name),
      installer: text(part.installer),
      place: text(part.place),
      bytes: count(part.length),
      sha256: text(part.sha256),
      deltas: list(part.deltas).length,
    })),
    checks: list(health.checks).map(sayCheck),
    withinSeconds: count(health.within_seconds),
    steadySeconds: count(health.steady_seconds),
    needs: list(value.needs).map((need) => `${text(need.product)} from counter ${count(need.least)} on`),
    conflicts: list(value.conflicts).map((each) => `${text(each.product)}, counters ${count(each.first)} to ${count(each.last)}`),
    leastBefore: count(value.least_before),
    replacesAgent: value.agent === true,
  };
}
