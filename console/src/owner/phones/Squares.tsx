/** A QR code, drawn from its rows: black on white in either look, for cameras expect that. */
export function Squares({ rows }: { rows: string[] }) {
  const size = rows.length;
  const path = rows
    .flatMap((row, y) => Array.from(row, (cell, x) => (cell === '1' ? `M${x} ${y}h1v1h-1z` : '')))
    .join('');
  return (
    <svg className="squares" viewBox={`0 0 ${size} ${size}`} role="img" aria-label="The address with the code, to scan" shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#ffffff" />
      <path d={path} fill="#000000" />
    </svg>
  );
}
