/** Words of a program, in which `commands` stand between backquotes. Text only: nothing is markup. */
export function Words({ text }: { text: string }) {
  return text.split('`').map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part));
}
