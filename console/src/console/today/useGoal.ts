import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client';
import { isGoal, keepGoal, readGoal, type Goal } from './goal';

/**
 * What somebody came for: kept by this browser and told to the server, which another browser asks.
 * `undefined` while it is not known yet whether the question was answered.
 */
export function useGoal(): [Goal | null | undefined, (goal: Goal) => void] {
  const [own, setOwn] = useState(readGoal);
  const client = useQueryClient();
  const tour = useQuery({ queryKey: ['tour'], queryFn: api.tour, enabled: own === null });
  const choose = (goal: Goal): void => {
    keepGoal(goal);
    setOwn(goal);
    void api
      .stepTour({ goal })
      .then(() => client.invalidateQueries({ queryKey: ['tour'] }))
      // This browser keeps the answer in any case; only other browsers will ask again.
      .catch(() => undefined);
  };
  if (own !== null) return [own, choose];
  if (tour.isPending) return [undefined, choose];
  return [isGoal(tour.data?.goal) ? tour.data.goal : null, choose];
}
