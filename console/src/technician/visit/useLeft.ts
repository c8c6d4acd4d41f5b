import { useEffect, useState } from 'react';
import type { Visit } from '../../api/technicianTypes';

/** Seconds that are left now; the program said how many when it answered. */
export function useLeft(visit: Visit, answeredAt: number): number {
  const [now, setNow] = useState(Date.now());
  const open = visit.phase === 'open';
  useEffect(() => {
    if (!open) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [open, answeredAt]);
  return Math.max(0, visit.left_seconds - Math.max(0, now - answeredAt) / 1_000);
}
