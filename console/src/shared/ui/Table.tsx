import type { ReactNode } from 'react';
import { Icon } from './Icon';

export interface Column<Row> {
  id: string;
  title: string;
  width: string;
  end?: boolean;
  /** Given where the server can sort by it. */
  sort?: string;
  cell: (row: Row) => ReactNode;
}

interface TableProps<Row> {
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  keyOf: (row: Row) => string;
  /** "name" or "-name"; absent where the order is fixed. */
  sort?: string;
  onSort?: (sort: string) => void;
}

function Head<Row>({ column, sort, onSort }: { column: Column<Row>; sort?: string; onSort?: (sort: string) => void }) {
  const by = column.sort;
  const order = by === undefined ? undefined : sort === by ? 'ascending' : sort === `-${by}` ? 'descending' : 'none';
  return (
    <div role="columnheader" aria-sort={order} className={column.end ? 'grid-cell-end' : undefined}>
      {by === undefined || !onSort ? (
        column.title
      ) : (
        <button type="button" className="sort" onClick={() => onSort(order === 'ascending' ? `-${by}` : by)}>
          {column.title}
          {order === 'ascending' && <Icon name="up" size={13} />}
          {order === 'descending' && <Icon name="down" size={13} />}
        </button>
      )}
    </div>
  );
}

/** A table that turns into cards on a narrow screen and stays a table for a screen reader. */
export function Table<Row>({ label, columns, rows, keyOf, sort, onSort }: TableProps<Row>) {
  const style = { '--columns': columns.map((column) => column.width).join(' ') } as React.CSSProperties;
  return (
    <div role="table" aria-label={label} className="grid-table" style={style}>
      <div role="rowgroup" className="grid-head">
        <div role="row" className="grid-row">
          {columns.map((column) => (
            <Head key={column.id} column={column} sort={sort} onSort={onSort} />
          ))}
        </div>
      </div>
      <div role="rowgroup" className="grid-body">
        {rows.map((row) => (
          <div role="row" className="grid-row" key={keyOf(row)}>
            {columns.map((column, at) => (
              <div role="cell" key={column.id} className={column.end ? 'grid-cell-end' : undefined}>
                {at > 0 && <span className="cell-label" aria-hidden="true">{column.title}</span>}
                <div className="cell-value">{column.cell(row)}</div>
              </div>
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

interface PagerProps {
  page: number;
  perPage: number;
  total: number;
  noun: string;
  onPage: (page: number) => void;
}

const count = new Intl.NumberFormat('en-GB');
export const sayCount = (value: number): string => count.format(value);

export function Pager({ page, perPage, total, noun, onPage }: PagerProps) {
  if (total === 0) return null;
  const first = (page - 1) * perPage + 1;
  const last = Math.min(total, page * perPage);
  return (
    <nav className="pager" aria-label="Pages of the list">
      <span className="number">
        {total <= perPage && page === 1
          ? `${sayCount(total)} ${noun}`
          : `${sayCount(first)} to ${sayCount(last)} of ${sayCount(total)} ${noun}`}
      </span>
      {total > perPage && (
        <div>
          <Step to={page - 1} off={page <= 1} onPage={onPage} label="Previous" icon="left" />
          <Step to={page + 1} off={last >= total} onPage={onPage} label="Next" icon="right" />
        </div>
      )}
    </nav>
  );
}

function Step({ to, off, onPage, label, icon }: { to: number; off: boolean; onPage: (page: number) => void; label: string; icon: 'left' | 'right' }) {
  return (
    <button type="button" className="pager-step" disabled={off} onClick={() => onPage(to)}>
      {icon === 'left' && <Icon name="left" />}
      {label}
      {icon === 'right' && <Icon name="right" />}
    </button>
  );
}
