import type { Problem } from './types';

/** Why a call did not do what was asked. `kind` says who can do something about it. */
export type FailureKind = 'down' | 'signed_out' | 'refused' | 'missing' | 'broken';

export class ApiFailure extends Error {
  readonly kind: FailureKind;
  readonly problem: Problem;

  constructor(kind: FailureKind, problem: Problem) {
    super(sayProblem(kind, problem));
    this.name = 'ApiFailure';
    this.kind = kind;
    this.problem = problem;
  }
}

const NEXT: Record<FailureKind, string> = {
  down: 'Whoever runs the server can start it again. This page tries again by itself.',
  signed_out: 'Open a new sign-in link: fleetward login-link --data DIR, on the server’s own computer.',
  refused: 'An administrator of this server can do it, or can give your account the role.',
  missing: 'It may have been removed. Go back to the list and look there.',
  broken: 'This is a fault of the server. Whoever runs it finds the cause in its log.',
};

const TITLES: Record<FailureKind, string> = {
  down: 'The server does not answer',
  signed_out: 'You are signed out',
  refused: 'Refused',
  missing: 'There is nothing here by that name',
  broken: 'The server could not answer',
};

/** What the server said beats what we can guess; the last sentence says who can do what. */
export function sayProblem(kind: FailureKind, problem: Problem): string {
  const said = [problem.detail, problem.next].filter((part): part is string => !!part);
  if (said.length === 0) said.push(`${problem.title ?? TITLES[kind]}.`);
  if (!problem.next && !saysNext(kind, problem)) said.push(NEXT[kind]);
  return said.join(' ');
}

/** A fault tells where its cause stands; what is wrong with a wish itself, no role can mend. */
const saysNext = (kind: FailureKind, problem: Problem): boolean =>
  Boolean(problem.detail) && (kind === 'broken' || (kind === 'refused' && (problem.status ?? 403) !== 403));

export function titleOf(failure: unknown): string {
  return failure instanceof ApiFailure
    ? failure.kind === 'refused' && failure.problem.title
      ? failure.problem.title
      : TITLES[failure.kind]
    : 'Something went wrong';
}

export function kindOfStatus(status: number): FailureKind {
  if (status === 401) return 'signed_out';
  if (status === 404 || status === 410) return 'missing';
  if (status === 502 || status === 503 || status === 504) return 'down';
  return status >= 500 ? 'broken' : 'refused';
}

export interface Transport {
  /** The secret of this visit, or null. */
  secret(): string | null;
  /** Called when the server no longer knows the secret. */
  onSignedOut(): void;
}

/** A query string without the empty parts, in a stable order. */
export function query(parts: Record<string, string | number | boolean | null | undefined>): string {
  const search = new URLSearchParams();
  for (const key of Object.keys(parts).sort()) {
    const value = parts[key];
    if (value !== null && value !== undefined && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}

async function readProblem(response: Response): Promise<Problem> {
  try {
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null ? (body as Problem) : {};
  } catch {
    return {};
  }
}

export class Http {
  constructor(
    private readonly transport: Transport,
    private readonly base = '/api/v1',
  ) {}

  async send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const json = body === undefined ? undefined : JSON.stringify(body);
    return this.request(method, path, json, 'application/json', signal);
  }

  /** Sends bytes as they are: what is typed on a terminal, a file. */
  async sendBytes(path: string, body: Uint8Array<ArrayBuffer> | Blob): Promise<void> {
    await this.request('POST', path, body, 'application/octet-stream');
  }

  private async request(method: string, path: string, body: BodyInit | undefined, type: string, signal?: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { Accept: 'application/json' };
    const secret = this.transport.secret();
    if (secret) headers.Authorization = `Bearer ${secret}`;
    if (body !== undefined) headers['Content-Type'] = type;
    let response: Response;
    try {
      response = await fetch(this.base + path, {
        method,
        headers,
        body,
        credentials: 'omit',
        cache: 'no-store',
        redirect: 'error',
        signal,
      });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ApiFailure('down', {});
    }
    if (response.ok) return response;
    const kind = kindOfStatus(response.status);
    const failure = new ApiFailure(kind, await readProblem(response));
    if (kind === 'signed_out' && secret) this.transport.onSignedOut();
    throw failure;
  }

  async get<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
    return (await (await this.send('GET', path, undefined, signal)).json()) as Answer;
  }

  async post<Answer>(path: string, body?: unknown): Promise<Answer> {
    const response = await this.send('POST', path, body);
    const text = await response.text();
    return (text === '' ? undefined : JSON.parse(text)) as Answer;
  }

  async remove(path: string): Promise<void> {
    await this.send('DELETE', path);
  }
}
