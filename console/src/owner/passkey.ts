import { ApiFailure } from '../api/http';
import { owner } from '../api/ownerClient';
import type { Answered, BegunPasskey, OwnerState, PasskeyChoice, PasskeyYes, PolicySigned } from '../api/ownerTypes';

/** Passkeys at the owner's own origin: the browser asks the person, the owner's program checks. */

const ES256 = -7;

export const canUsePasskeys = (): boolean => isSecureContext && 'credentials' in navigator && 'PublicKeyCredential' in globalThis;

export const isOfThisPage = (origins: string[]): boolean => origins.includes(location.origin);

/** Whether the policy names a passkey that works on this page, in a browser that can use it. */
export const hasPasskeyHere = (state: OwnerState | undefined): boolean =>
  canUsePasskeys() && !!state?.policy.people.some((person) => person.keys.some((key) => isOfThisPage(key.origins)));

const toBase64url = (data: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(data))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

const fromBase64url = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (each) => each.charCodeAt(0));

const named = (name: string): PublicKeyCredentialDescriptor => ({ type: 'public-key', id: fromBase64url(name) });

const refuse = (detail: string): Error => new ApiFailure('refused', { status: 409, title: 'No passkey was used', detail });

/** What the browser says when somebody closes its question, in plain words. */
function sayInWords(cause: unknown): Error {
  if (cause instanceof DOMException && (cause.name === 'NotAllowedError' || cause.name === 'AbortError')) {
    return refuse('The browser’s question was closed, or took too long. You can try again.');
  }
  if (cause instanceof DOMException && cause.name === 'InvalidStateError') {
    return refuse('This authenticator holds a passkey of your policy already.');
  }
  return cause instanceof Error ? cause : refuse('The browser could not use one.');
}

async function ask<Response extends AuthenticatorResponse>(make: () => Promise<Credential | null>): Promise<Response> {
  try {
    const credential = await make();
    if (credential) return (credential as PublicKeyCredential).response as Response;
  } catch (cause) {
    throw sayInWords(cause);
  }
  throw refuse('The browser gave none.');
}

interface Made {
  challenge: string;
  authenticator_data: string;
  client_data: string;
}

async function make(begun: BegunPasskey): Promise<Made> {
  const made = await ask<AuthenticatorAttestationResponse>(() =>
    navigator.credentials.create({
      publicKey: {
        attestation: 'none',
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        challenge: fromBase64url(begun.challenge),
        excludeCredentials: begun.others.map(named),
        pubKeyCredParams: [{ type: 'public-key', alg: ES256 }],
        rp: { id: begun.rp_id, name: 'Fleetward, owner' },
        user: { id: fromBase64url(begun.user_id), name: begun.person, displayName: begun.person },
      },
    }),
  );
  return {
    challenge: begun.challenge,
    authenticator_data: toBase64url(made.getAuthenticatorData()),
    client_data: toBase64url(made.clientDataJSON),
  };
}

/** Makes a passkey for a person and has it named in the next policy. */
export async function makePasskey(person: string, passphrase: string): Promise<PolicySigned> {
  return owner.addPasskey({ ...(await make(await owner.beginPasskey({ person, passphrase }))), passphrase });
}

/** Makes a passkey on this phone; the owner names it at his computer. Returns its six words. */
export async function offerPasskey(person: string): Promise<string> {
  return (await owner.offerPasskey(await make(await owner.beginOnPhone(person)))).words;
}

/** Says no to a request, or ends its session, by a passkey: it signs exactly what was prepared. */
export async function endByPasskey(what: 'deny' | 'stop', id: string, reason: string): Promise<Answered> {
  const ready = await owner.prepareEnding({ id, what, reason });
  return owner.endByPasskey(ready.stop, await sayYes(ready.passkey));
}

/** Asks for a passkey's yes to exactly what the program prepared: its challenge is that grant. */
export async function sayYes(choice: PasskeyChoice): Promise<PasskeyYes> {
  const said = await ask<AuthenticatorAssertionResponse>(() =>
    navigator.credentials.get({
      publicKey: {
        allowCredentials: choice.names.map(named),
        challenge: fromBase64url(choice.challenge),
        rpId: choice.rp_id,
        userVerification: 'required',
      },
    }),
  );
  return {
    authenticator_data: toBase64url(said.authenticatorData),
    client_data: toBase64url(said.clientDataJSON),
    signature: toBase64url(said.signature),
  };
}
