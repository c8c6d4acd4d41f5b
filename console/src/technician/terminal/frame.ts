import '../../shared/security/trustedTypes';
import './styles';
import '@xterm/xterm/css/xterm.css';
import './frame.css';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { HELLO, MAX_INPUT, type FromFrame, type ToFrame } from './words';

/**
 * The frame in which a terminal of a machine is drawn. It is sandboxed: it has no origin, no secret
 * and no network. It hears our page alone, over the port that it is given once.
 *
 * What comes has lost its strings (titles, clipboard, links) before; here they would be passed over
 * as well. Nothing is selected, copied or opened but by the person's own hand.
 */
const HOME = `http://technician.localhost:${location.port}`;
/** OSC 0-2, 4, 7, 8, 9, 10-12, 52, 104, 110-112, 133, 777, 1337: titles, colours, links, clipboard. */
const STRINGS = [0, 1, 2, 4, 7, 8, 9, 10, 11, 12, 52, 104, 110, 111, 112, 133, 777, 1337];

function begin(port: MessagePort, place: HTMLElement): void {
  const say = (words: FromFrame): void => port.postMessage(words);
  const terminal = new Terminal({
    fontFamily: "ui-monospace, 'SF Mono', 'Cascadia Code', 'Roboto Mono', 'Liberation Mono', 'DejaVu Sans Mono', monospace",
    fontSize: innerWidth < 500 ? 12 : 14,
    scrollback: 5_000,
    cursorBlink: false,
    linkHandler: { activate: () => undefined },
    disableStdin: false,
    screenReaderMode: false,
    theme: { background: '#10161d', foreground: '#dfe6ee', cursor: '#dfe6ee' },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  for (const number of STRINGS) terminal.parser.registerOscHandler(number, () => true);
  terminal.open(place);
  fit.fit();
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.ctrlKey && event.altKey && event.key === '.') {
      if (event.type === 'keydown') say({ kind: 'out' });
      return false;
    }
    return true;
  });
  terminal.onData((text) => {
    for (let at = 0; at < text.length; at += MAX_INPUT) say({ kind: 'input', text: text.slice(at, at + MAX_INPUT) });
  });
  terminal.onResize(({ cols, rows }) => say({ kind: 'size', columns: cols, rows }));
  new ResizeObserver(() => fit.fit()).observe(place);
  port.onmessage = ({ data }: MessageEvent<ToFrame>) => {
    if (data.kind === 'output') terminal.write(data.data, () => say({ kind: 'taken', bytes: data.data.length }));
    else if (data.kind === 'focus') terminal.focus();
    else {
      terminal.options.disableStdin = true;
      terminal.write('\r\n\x1b[0m\x1b[?25l');
    }
  };
  say({ kind: 'ready', columns: terminal.cols, rows: terminal.rows });
  terminal.focus();
}

function hear(event: MessageEvent): void {
  const [port] = event.ports;
  if (event.source !== parent || event.origin !== HOME || event.data !== HELLO || !port) return;
  removeEventListener('message', hear);
  const place = document.getElementById('terminal');
  if (place) begin(port, place);
}

if (parent !== window) addEventListener('message', hear);
