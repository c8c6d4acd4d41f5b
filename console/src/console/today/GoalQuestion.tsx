import { GOALS, type Goal } from './goal';

/** Asked once: what somebody came for. It puts that first on this page. */
export function GoalQuestion({ onGoal }: { onGoal: (goal: Goal) => void }) {
  return (
    <section className="goal" aria-labelledby="goal-title">
      <h2 id="goal-title" className="small quiet">
        What do you want to do first with these devices? You can change it on the set-up page.
      </h2>
      <ul>
        {GOALS.map((goal) => (
          <li key={goal.id}>
            <button type="button" onClick={() => onGoal(goal.id)}>
              <strong>{goal.title}</strong>
              <span>{goal.words}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
