/** What was heard longest ago comes first; what was never heard comes before all. */
export function oldestFirst<Head extends { head_at: string | null; name: string }>(heads: Head[]): Head[] {
  return [...heads].sort(
    (a, b) => (a.head_at ?? '').localeCompare(b.head_at ?? '') || a.name.localeCompare(b.name),
  );
}
