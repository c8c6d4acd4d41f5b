/** The few drawings that the pages use, as outlines on a 20-unit square. */
const PATHS = {
  today: 'M3 8.500 10 3l7 5.500V17h-4.500v-5h-5v5H3z',
  fleet: 'M3 4h6v5H3zM11 4h6v5h-6zM3 11.500h6v5H3zM11 11.500h6v5h-6z',
  timeline: 'M10 3v14M10 6h5M10 10H5M10 14h5',
  proof: 'M10 2.500 4 5v4.500c0 3.800 2.500 6.700 6 8 3.500-1.300 6-4.200 6-8V5zM7.300 10l2 2 3.600-4',
  setup: 'M4 17V3M4 4h10l-2 3 2 3H4',
  access: 'M12.500 11a4 4 0 1 0-3.800-2.800L3 14v3h3v-2h2v-2h1.800l1-1a4 4 0 0 0 1.700-1zM13.500 6.500h.01',
  session: 'M3 4h14v10H3zM6 7.500l2 1.800-2 1.800M10 11h3.500M7.500 17h5',
  more: 'M4 10h.01M10 10h.01M16 10h.01',
  check: 'M4.500 10.500 8.500 14.500 15.500 6',
  cross: 'M5.500 5.500l9 9M14.500 5.500l-9 9',
  alert: 'M10 3 2.500 16.500h15zM10 8.500v3.500M10 14.300h.01',
  clock: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 6.500V10l2.500 1.500',
  hidden: 'M3 3l14 14M8.300 8.400a2.300 2.300 0 0 0 3.200 3.200M6 6.200C4.200 7.200 3 8.800 2.300 10c1.200 2.200 3.900 5 7.700 5 1.200 0 2.300-.300 3.300-.800M9 5.100c4.300-.400 7.300 2.600 8.700 4.900-.400.700-1 1.500-1.700 2.200',
  half: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 3v14M10 6.500h3.500M10 10h5M10 13.500h3.500',
  empty: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14z',
  copy: 'M7 7V3.500h9.500V13H13M3.500 7H13v9.500H3.500z',
  right: 'M7.500 4.500 13 10l-5.500 5.500',
  left: 'M12.500 4.500 7 10l5.500 5.500',
  up: 'M5 12.500l5-5 5 5',
  down: 'M5 7.500l5 5 5-5',
  search: 'M9 3.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM13 13l4 4',
  sun: 'M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100',
  moon: 'M16.500 11.500A7 7 0 1 1 8.500 3.500a5.500 5.500 0 0 0 8 8z',
  contrast: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 3v14',
  block: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM5.200 5.200l9.600 9.600',
  person: 'M10 3.500a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM4 17c.500-3.500 3-5 6-5s5.500 1.500 6 5',
  download: 'M10 3v9M6 8.500l4 4 4-4M4 16.500h12',
  invite: 'M3 5.500h14v9.500H3zM3 6l7 5 7-5',
  policy: 'M5 2.500h7l3.500 3.500v11.500H5zM12 2.500V6h3.500M8 10h5M8 13.500h5',
  wave: 'M2.500 10h3l2-5 4 10 2.500-5h3.500',
  phone: 'M6 2.500h8v15H6zM9.300 15h1.400',
  out: 'M8 4H4v12h4M12 6.500l3.500 3.500-3.500 3.500M15 10H8',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      className="icon"
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth={name === 'more' ? 2.6 : 1.6}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
