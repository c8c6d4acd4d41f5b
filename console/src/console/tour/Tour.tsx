import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, Redirect, useLocation, useParams } from 'wouter';
import { api } from '../../api/client';
import type { Tour as TourData } from '../../api/types';
import { Answer, Failure } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page } from '../../shared/ui/Page';
import { ChangeStep } from './ChangeStep';
import { DrillStep } from './DrillStep';
import { Health } from './Health';
import { KeepStep } from './KeepStep';
import { LetInStep } from './LetInStep';
import { LieStep } from './LieStep';
import { MachineStep } from './MachineStep';
import { SignedInStep } from './SignedInStep';
import { SoftwareStep } from './SoftwareStep';
import { TechnicianStep } from './TechnicianStep';
import { LAST, STEPS, readStep, resumeAt } from './steps';
import './tour.css';

/** The step with a button of its own. */
const DRILL = 7;

/** Nine steps on live events; left at any time, it goes on where it was. */
export default function Tour() {
  const { step } = useParams<{ step?: string }>();
  const tour = useQuery({ queryKey: ['tour'], queryFn: api.tour });
  return (
    <Answer of={tour} title="Set-up">
      {(data) => {
        const at = readStep(step);
        return at === null ? <Redirect to={`/setup/${resumeAt(data)}`} replace /> : <TourPage tour={data} at={at} />;
      }}
    </Answer>
  );
}

function TourPage({ tour, at }: { tour: TourData; at: number }) {
  const [drilledAt, setDrilledAt] = useState<number | null>(null);
  const step = STEPS[at - 1] ?? STEPS[0];
  return (
    <div className="tour">
      <Steps tour={tour} at={at} />
      <div className="tour-page">
        <Page title={`Set-up, step ${at}`} heading={step.question} above={<p className="tour-count">Step {at} of {LAST}</p>}>
          <StepBody tour={tour} at={at} onDrill={() => setDrilledAt(at)} />
          <Onwards at={at} first={at !== DRILL || drilledAt === at} />
        </Page>
        <Health />
      </div>
    </div>
  );
}

function Steps({ tour, at }: { tour: TourData; at: number }) {
  return (
    <nav className="tour-steps" aria-label="Steps">
      <ol>
        {STEPS.map((step) => {
          const done = tour.done.includes(step.id);
          return (
            <li key={step.id}>
              <Link href={`/setup/${step.id}`} aria-current={step.id === at ? 'step' : undefined} data-done={done || undefined}>
                <span className="tour-mark" aria-hidden="true">
                  {done ? <Icon name="check" size={14} /> : step.id}
                </span>
                <span className="tour-name">{step.title}</span>
                {done && <span className="visually-hidden">, done</span>}
              </Link>
            </li>
          );
        })}
      </ol>
    </nav>
  );
}

function StepBody({ tour, at, onDrill }: { tour: TourData; at: number; onDrill: () => void }) {
  switch (at) {
    case 1:
      return <SignedInStep />;
    case 2:
      return <MachineStep tour={tour} />;
    case 3:
      return <ChangeStep tour={tour} />;
    case 4:
      return <LetInStep tour={tour} />;
    case 5:
      return <TechnicianStep tour={tour} />;
    case 6:
      return <SoftwareStep tour={tour} />;
    case DRILL:
      return <DrillStep tour={tour} onDrill={onDrill} />;
    case 8:
      return <LieStep tour={tour} />;
    default:
      return <KeepStep tour={tour} />;
  }
}

/** `first` where nothing else on the page is to be done before. */
function Onwards({ at, first }: { at: number; first: boolean }) {
  const [, go] = useLocation();
  const client = useQueryClient();
  const reach = useMutation({
    mutationFn: () => api.stepTour({ done: at, step: Math.min(at + 1, LAST) }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ['tour'] });
      go(at < LAST ? `/setup/${at + 1}` : '/');
    },
  });
  return (
    <div className="onwards">
      {reach.error && <Failure failure={reach.error} />}
      <Button size="md" variant={first ? 'filled' : 'default'} loading={reach.isPending} onClick={() => reach.mutate()} rightSection={<Icon name="right" />}>
        {at < LAST ? `Next: ${STEPS[at]?.title ?? ''}` : 'Go to Today'}
      </Button>
    </div>
  );
}
