/** A link pasted over this very page changes only the part behind #, and loads nothing: load it then. */
export function reloadWhenAddressBrings(name: string): void {
  addEventListener('hashchange', () => {
    if (new URLSearchParams(location.hash.slice(1)).has(name)) location.reload();
  });
}
