/**
 * Installs the one Trusted Types policy of the program.
 *
 * It passes text for style elements, which never holds a '<', and refuses everything else, so that
 * no data can become markup or script. Must be the first import of a program.
 */
interface PolicyFactory {
  createPolicy(name: string, rules: { createHTML(text: string): string | null }): unknown;
}

export function passStyleText(text: string): string | null {
  return text.includes('<') ? null : text;
}

export function installTrustedTypes(scope: { trustedTypes?: PolicyFactory }): void {
  scope.trustedTypes?.createPolicy('default', { createHTML: passStyleText });
}

installTrustedTypes(globalThis as { trustedTypes?: PolicyFactory });
