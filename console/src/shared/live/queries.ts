import { QueryClient } from '@tanstack/react-query';
import { ApiFailure } from '../../api/http';

/** One cache for a program. What is old is asked again by the live link, not by timers here. */
export function makeQueries(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        refetchOnWindowFocus: true,
        networkMode: 'always',
        retry: (count, failure) =>
          count < 1 && !(failure instanceof ApiFailure && failure.kind !== 'down'),
        retryDelay: 800,
      },
      mutations: { networkMode: 'always' },
    },
  });
}
