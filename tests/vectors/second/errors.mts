// Three of the five families of failure; the other two never come out of a verification.

export class Failure extends Error {
  constructor(
    readonly family: "Malformed" | "Untrusted" | "Refused",
    readonly reason: string,
  ) {
    super(`${family}: ${reason}`);
  }
}

export function malformed(reason: string): never {
  throw new Failure("Malformed", reason);
}

export function untrusted(reason: string): never {
  throw new Failure("Untrusted", reason);
}

export function refused(reason: string): never {
  throw new Failure("Refused", reason);
}
