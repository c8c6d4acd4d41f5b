import { useEffect, type ReactNode } from 'react';
import './ui.css';

interface PageProps {
  title: string;
  /** The heading, where it is more than the title. */
  heading?: ReactNode;
  lead?: ReactNode;
  above?: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
}

const PROGRAMS: Record<string, string> = { owner: "Owner's console", technician: 'Technician' };

/** A page asks or answers one thing; its heading says it. */
export function Page({ title, heading, lead, above, aside, children }: PageProps) {
  useEffect(() => {
    const program = PROGRAMS[document.documentElement.dataset.program ?? ''] ?? 'Fleetward';
    document.title = `${title} · ${program}`;
  }, [title]);
  return (
    <>
      {above}
      <div className="page-head">
        <div>
          <h1>{heading ?? title}</h1>
          {lead && <div className="lead">{lead}</div>}
        </div>
        {aside && <div className="page-aside">{aside}</div>}
      </div>
      {children}
    </>
  );
}

let counter = 0;
const idOf = (title: string): string => title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-') || `part-${(counter += 1)}`;

export function Section({ title, aside, children, id }: { title: string; aside?: ReactNode; children: ReactNode; id?: string }) {
  const name = id ?? idOf(title);
  return (
    <section className="section" aria-labelledby={`${name}-title`} id={name}>
      <div className="section-head">
        <h2 id={`${name}-title`}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

export function Panel({ children, pad = false, className = '' }: { children: ReactNode; pad?: boolean; className?: string }) {
  return <div className={`panel ${pad ? 'panel-pad' : ''} ${className}`}>{children}</div>;
}

/** Text of unknown length on one line; the whole of it on hover. */
export function Truncate({ text, strong = false }: { text: string; strong?: boolean }) {
  return (
    <span className="truncate" title={text}>
      {strong ? <strong>{text}</strong> : text}
    </span>
  );
}

export function Facts({ facts }: { facts: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <FactPair key={name} name={name} value={value} />
      ))}
    </dl>
  );
}

function FactPair({ name, value }: { name: string; value: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value ?? <span className="quiet">Not known</span>}</dd>
    </>
  );
}
