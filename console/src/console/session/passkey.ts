import { api } from '../../api/client';
import { keepSecret } from '../../api/secret';

/** Passkeys in the browser: options and answers travel as WebAuthn's own JSON. */

interface JsonForms {
  parseCreationOptionsFromJSON?: (options: unknown) => PublicKeyCredentialCreationOptions;
  parseRequestOptionsFromJSON?: (options: unknown) => PublicKeyCredentialRequestOptions;
}

const forms = (): JsonForms =>
  (globalThis as { PublicKeyCredential?: JsonForms }).PublicKeyCredential ?? {};

export const canUsePasskeys = (): boolean =>
  isSecureContext && typeof forms().parseCreationOptionsFromJSON === 'function';

const asJson = (credential: Credential | null): unknown => {
  if (!credential) throw new Error('The browser gave no passkey. Try again, or use a sign-in link.');
  return (credential as Credential & { toJSON(): unknown }).toJSON();
};

/** What the browser says when somebody closes its dialog, in plain words. */
export function sayPasskeyFailure(cause: unknown): string {
  if (cause instanceof DOMException && (cause.name === 'NotAllowedError' || cause.name === 'AbortError')) {
    return 'No passkey was used: the browser’s question was closed or took too long. You can try again.';
  }
  if (cause instanceof DOMException && cause.name === 'InvalidStateError') {
    return 'This device already has a passkey for you.';
  }
  return cause instanceof Error ? cause.message : 'The browser could not use a passkey.';
}

export async function registerPasskey(): Promise<void> {
  const { challenge_id, options } = await api.passkeyBegin('register');
  const publicKey = forms().parseCreationOptionsFromJSON?.(options);
  const credential = asJson(await navigator.credentials.create({ publicKey }));
  await api.passkeyRegister({ challenge_id, credential });
}

export async function signInWithPasskey(): Promise<void> {
  const { challenge_id, options } = await api.passkeyBegin('login');
  const publicKey = forms().parseRequestOptionsFromJSON?.(options);
  const credential = asJson(await navigator.credentials.get({ publicKey }));
  const opened = await api.passkeyLogin({ challenge_id, credential });
  keepSecret(opened.token);
}
