import { technician } from '../../api/technicianClient';
import { HELLO, readFromFrame, type ToFrame } from './words';

/** Bytes that the frame may have waiting; beyond that the next are left where they are. */
const MOST_WAITING = 256 * 1024;

export interface Ends {
  /** The machine, or the session, has ended it. `words` is empty when all is well. */
  over(words: string): void;
  failed(failure: unknown): void;
  /** The person wants the keyboard back. */
  out(): void;
}

export interface Attached {
  type(text: string): void;
  focus(): void;
  close(): void;
}

/**
 * Joins a frame with a new terminal on a scope of the grant. The frame says what was typed and how
 * large it is; our page holds the secret and speaks for it.
 */
export function attach(frame: HTMLIFrameElement, place: number, ends: Ends): Attached {
  const { port1: port, port2 } = new MessageChannel();
  const stopper = new AbortController();
  let id: string | null = null;
  let waiting = 0;
  let taken: (() => void) | null = null;
  let typed = '';
  let sending = false;
  let size: { columns: number; rows: number } | null = null;
  const say = (words: ToFrame): void => port.postMessage(words);

  const fail = (failure: unknown): void => {
    if (!stopper.signal.aborted) ends.failed(failure);
  };
  const flush = async (): Promise<void> => {
    if (sending || id === null) return;
    sending = true;
    try {
      while (typed !== '' && !stopper.signal.aborted) {
        const text = typed;
        typed = '';
        await technician.type(id, text);
      }
    } catch (failure) {
      fail(failure);
    } finally {
      sending = false;
    }
  };
  const type = (text: string): void => {
    typed += text;
    void flush();
  };
  const show = async (terminal: string): Promise<void> => {
    const response = await technician.output(terminal, stopper.signal);
    const reader = response.body?.getReader();
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) break;
      waiting += part.value.length;
      say({ kind: 'output', data: part.value });
      if (waiting > MOST_WAITING) await new Promise<void>((resolve) => (taken = resolve));
    }
    say({ kind: 'over' });
    ends.over((await technician.terminal(terminal)).words);
  };
  const begin = async (columns: number, rows: number): Promise<void> => {
    try {
      const opened = await technician.openTerminal({ place, columns, rows });
      id = opened.id;
      if (stopper.signal.aborted) void technician.closeTerminal(id).catch(() => undefined);
      else {
        if (size) void technician.resize(id, size.columns, size.rows).catch(fail);
        void flush();
        await show(id);
      }
    } catch (failure) {
      fail(failure);
    }
  };

  port.onmessage = ({ data }: MessageEvent<unknown>) => {
    const said = readFromFrame(data);
    if (said === null || stopper.signal.aborted) return;
    if (said.kind === 'input') type(said.text);
    else if (said.kind === 'out') ends.out();
    else if (said.kind === 'ready') void begin(said.columns, said.rows);
    else if (said.kind === 'size') {
      size = { columns: said.columns, rows: said.rows };
      if (id !== null) void technician.resize(id, said.columns, said.rows).catch(() => undefined);
    } else {
      waiting = Math.max(0, waiting - said.bytes);
      if (waiting <= MOST_WAITING && taken) {
        taken();
        taken = null;
      }
    }
  };
  // A sandboxed frame has no origin to name; the page's policy lets nothing else be loaded in it.
  frame.contentWindow?.postMessage(HELLO, '*', [port2]);
  return {
    type,
    focus: () => {
      frame.focus();
      say({ kind: 'focus' });
    },
    close: () => {
      stopper.abort();
      taken?.();
      if (id !== null) void technician.closeTerminal(id).catch(() => undefined);
      port.close();
    },
  };
}
