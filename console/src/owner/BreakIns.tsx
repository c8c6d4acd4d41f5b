import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from 'wouter';
import { owner } from '../api/ownerClient';
import type { Access } from '../api/ownerTypes';
import { Age } from '../shared/time/AsOf';
import { Failure } from '../shared/ui/Answer';
import { Icon } from '../shared/ui/Icon';
import { isWaiting, sayWho, wasInside } from './sessions/sayings';

/** Somebody broke in, or asks to: told on every page until a person says that he knows. */
export function BreakIns({ items }: { items: Access[] }) {
  const untold = items.filter((item) => item.break_glass && !item.acknowledged);
  const [first] = untold;
  return first && <BreakIn key={first.id} item={first} more={untold.length - 1} />;
}

function BreakIn({ item, more }: { item: Access; more: number }) {
  const client = useQueryClient();
  const acknowledge = useMutation({
    mutationFn: () => owner.acknowledge(item.id),
    onSuccess: () => client.invalidateQueries({ queryKey: ['access'] }),
  });
  const href = isWaiting(item) ? `/requests/${item.id}` : `/sessions/${item.id}`;
  return (
    <div className="strip tone-bad break-in" role="alert">
      <Icon name="alert" />
      <div className="break-in-words">
        <p>
          <strong>BREAK-GLASS.</strong> {sayWho(item)} {sayWhat(item)} {item.machine} without your usual approvers
          {item.people.length > 0 && `, allowed by ${item.people.join(' and ')}`}
          {item.asked_at && (
            <>
              {' '}
              (<Age at={item.asked_at} />)
            </>
          )}
          . “{item.reason}” <Link href={href}>See it</Link>
          {more > 0 && `, and ${more} more before it`}
        </p>
        {acknowledge.error && <Failure failure={acknowledge.error} />}
      </div>
      <Button size="xs" variant="default" loading={acknowledge.isPending} onClick={() => acknowledge.mutate()}>
        I know of it
      </Button>
    </div>
  );
}

function sayWhat(item: Access): string {
  if (isWaiting(item)) return 'asks to enter';
  if (item.state === 'open') return 'is inside';
  if (item.state === 'granted') return 'may enter, after a press at the machine,';
  return wasInside(item) ? 'was inside' : 'asked to enter';
}
