/** Six words that two people compare; numbered, so that they can be read aloud. */
export function SixWords({ words }: { words: string }) {
  return (
    <ol className="six-words" aria-label="Six words">
      {words.split(/\s+/).map((word, at) => (
        <li key={at}>
          <span aria-hidden="true">{at + 1}</span>
          {word}
        </li>
      ))}
    </ol>
  );
}
