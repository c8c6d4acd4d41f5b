import { Drawer } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useEffect, useRef, type ReactNode } from 'react';
import { Link, useLocation } from 'wouter';
import { useLink } from '../live/Live';
import { LookToggle } from '../theme/LookToggle';
import { sayClock } from '../time/time';
import { Icon, type IconName } from '../ui/Icon';
import './shell.css';

export interface Place {
  href: string;
  label: string;
  icon: IconName;
  count?: number;
}

interface ShellProps {
  title: string;
  subtitle?: string;
  places: Place[];
  /** How many places fit the bar of a phone; the others are under "More". */
  inBar: number;
  who?: ReactNode;
  banner?: ReactNode;
  children: ReactNode;
}

const isHere = (path: string, href: string): boolean =>
  href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`);

function LinkState() {
  const link = useLink();
  const words = {
    starting: 'Connecting',
    live: 'Live',
    polling: 'Asking every 10 s',
    down: 'No answer',
  }[link.mode];
  return (
    <p className={`link-state link-${link.mode}`} role="status">
      <span className="link-dot" aria-hidden="true" />
      {words}
    </p>
  );
}

function DownStrip() {
  const link = useLink();
  if (link.mode !== 'down') return null;
  const { who, cure } = link;
  const since = link.heardAt === null ? '' : ` What you see is from ${sayClock(link.heardAt)}.`;
  return (
    <div className="strip tone-bad" role="alert">
      <Icon name="alert" />
      <p>
        <strong>{who} does not answer.</strong>
        {since} Your devices keep working and keep their own records. {cure} This page tries again by itself.
      </p>
    </div>
  );
}

function Places({ places, path }: { places: Place[]; path: string }) {
  return places.map((place) => (
    <li key={place.href}>
      <Link href={place.href} className="rail-link" aria-current={isHere(path, place.href) ? 'page' : undefined}>
        <Icon name={place.icon} />
        <span>{place.label}</span>
        {!!place.count && <span className="rail-count">{place.count}</span>}
      </Link>
    </li>
  ));
}

function BottomBar({ places, inBar, path, who }: Pick<ShellProps, 'places' | 'inBar' | 'who'> & { path: string }) {
  const [open, sheet] = useDisclosure(false);
  useEffect(() => sheet.close(), [path]); // eslint-disable-line react-hooks/exhaustive-deps
  const rest = places.slice(inBar);
  return (
    <nav className="bottom-bar" aria-label="Pages">
      <ul>
        {places.slice(0, inBar).map((place) => (
          <li key={place.href}>
            <Link href={place.href} aria-current={isHere(path, place.href) ? 'page' : undefined}>
              <Icon name={place.icon} size={20} />
              {place.label}
            </Link>
          </li>
        ))}
        {rest.length > 0 && (
          <li>
            <button type="button" onClick={sheet.open} aria-haspopup="dialog">
              <Icon name="more" size={20} />
              More
            </button>
          </li>
        )}
      </ul>
      <Drawer opened={open} onClose={sheet.close} position="bottom" size={250} title="More" radius="lg"
        closeButtonProps={{ 'aria-label': 'Close' }}>
        <ul className="more-sheet">
          <Places places={rest} path={path} />
          {who && <li>{who}</li>}
        </ul>
      </Drawer>
    </nav>
  );
}

/** The frame of every page: where one can go, whether the link lives, and the page itself. */
export function Shell({ title, subtitle, places, inBar, who, banner, children }: ShellProps) {
  const [path] = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    window.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <>
      <a className="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>
        Skip to the page
      </a>
      <div className="shell">
        <header className="rail">
          <Link href="/" className="wordmark">
            <img src="/favicon.svg" alt="" width={28} height={28} />
            <span>
              {title}
              {subtitle && <small>{subtitle}</small>}
            </span>
          </Link>
          <nav aria-label="All pages">
            <ul>
              <Places places={places} path={path} />
            </ul>
          </nav>
          <div className="rail-foot">
            <LinkState />
            <LookToggle />
            {who && <div className="who">{who}</div>}
          </div>
        </header>
        <div className="content">
          <section aria-label="Notices">
            {banner}
            <DownStrip />
          </section>
          <main id="main" ref={main} tabIndex={-1}>
            {children}
          </main>
        </div>
      </div>
      <BottomBar places={places} inBar={inBar} path={path} who={who} />
    </>
  );
}
