/** The secret of this visit, kept by the browser for this origin alone. There are no cookies. */

const KEY = 'fleetward.secret';
const listeners = new Set<() => void>();
const tell = (): void => listeners.forEach((listener) => listener());

export function readSecret(): string | null {
  return localStorage.getItem(KEY);
}

export function keepSecret(secret: string): void {
  localStorage.setItem(KEY, secret);
  tell();
}

export function forgetSecret(): void {
  localStorage.removeItem(KEY);
  tell();
}

export function watchSecret(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener('storage', listener);
  return () => {
    listeners.delete(listener);
    removeEventListener('storage', listener);
  };
}
