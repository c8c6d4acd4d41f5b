import { Button, Skeleton } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { titleOf } from '../../api/http';
import { Page } from './Page';
import { Note } from './State';
import { Words } from './Words';

const words = (failure: unknown): string => (failure instanceof Error ? failure.message : String(failure));

/** A refusal or a fault in words that say who can do what about it. */
export function Failure({ failure, again }: { failure: unknown; again?: () => void }) {
  return (
    <Note tone="bad" icon="alert" live>
      <strong>{titleOf(failure)}</strong>
      <p><Words text={words(failure)} /></p>
      {again && (
        <Button variant="default" size="xs" mt={10} onClick={again}>
          Try again
        </Button>
      )}
    </Note>
  );
}

export function Loading({ lines = 4 }: { lines?: number }) {
  return (
    <div role="status" aria-label="Loading" className="panel panel-pad">
      {Array.from({ length: lines }, (_, at) => (
        <Skeleton key={at} height={14} width={`${92 - ((at * 17) % 40)}%`} mb={14} radius={4} />
      ))}
    </div>
  );
}

interface AnswerProps<Data> {
  of: UseQueryResult<Data>;
  lines?: number;
  /** The page's title, where the answer makes the whole page. */
  title?: string;
  children: (data: Data) => ReactNode;
}

/** What was answered, even if it is old; else the failure; else that it is under way. */
export function Answer<Data>({ of, lines, title, children }: AnswerProps<Data>) {
  if (of.data !== undefined) return children(of.data);
  const instead = of.error ? (
    <Failure failure={of.error} again={() => void of.refetch()} />
  ) : (
    <Loading lines={lines} />
  );
  return title === undefined ? instead : <Page title={title}>{instead}</Page>;
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="panel empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
    </div>
  );
}
