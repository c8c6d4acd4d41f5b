// A client of MeshCentral for bench/meshcentral.py: the same keystrokes, output and port as ours.
//
// Reads one JSON object from its first argument: the folder of the npm package, the address, the
// name and password of a user, a device, a port, and how much to do. Prints one JSON object. It uses
// the WebSocket library that MeshCentral's own command uses.

import { createRequire } from "node:module";

interface Wish {
  packages: string;
  address: string;
  user: string;
  password: string;
  device: string;
  port: number;
  keys: number;
  seconds: number;
}

interface Socket {
  on(event: string, take: (data: Buffer) => void): void;
  send(data: string | Buffer): void;
  close(): void;
  terminate(): void;
}

const wish = JSON.parse(process.argv[2] ?? "{}") as Wish;
const require = createRequire(`${wish.packages}/meshcentral/package.json`);
const WebSocket = require("ws") as new (url: string, options: object) => Socket;
const insecure = { rejectUnauthorized: false };
const pause = (milliseconds: number): Promise<void> =>
  new Promise((done) => setTimeout(done, milliseconds));

/** Sign in and return what an open control connection gives to a tunnel. */
async function signIn(): Promise<{ control: Socket; cookie: string; relay: string }> {
  const encode = (text: string): string => Buffer.from(text).toString("base64");
  const headers = { "x-meshauth": `${encode(wish.user)},${encode(wish.password)}` };
  const control = new WebSocket(`${wish.address}/control.ashx`, { ...insecure, headers });
  return await new Promise((done, fail) => {
    control.on("error", (error) => fail(error as unknown as Error));
    control.on("open", () => control.send(JSON.stringify({ action: "authcookie" })));
    control.on("message", (data) => {
      const word = JSON.parse(data.toString()) as Record<string, string>;
      if (word.action === "authcookie") {
        done({ control, cookie: word.cookie ?? "", relay: word.rcookie ?? "" });
      }
    });
  });
}

/** Open a terminal; call `take` with what it says. */
async function openTerminal(take: { now: (data: Buffer) => void }): Promise<Socket> {
  const { control, cookie, relay } = await signIn();
  const id = Math.random().toString(16).slice(2, 14);
  const device = encodeURIComponent(wish.device);
  const path = `meshrelay.ashx?p=1&nodeid=${wish.device}&id=${id}`;
  const value = `*/${path}&rauth=${relay}`;
  const order = { action: "msg", nodeid: wish.device, type: "tunnel", usage: 1, value };
  control.send(JSON.stringify({ ...order, responseid: "meshctrl" }));
  const tunnel = new WebSocket(
    `${wish.address}/meshrelay.ashx?browser=1&p=1&nodeid=${device}&id=${id}&auth=${cookie}`,
    insecure,
  );
  await new Promise<void>((done) => {
    let open = false;
    tunnel.on("message", (data) => {
      const text = data.length < 200 ? data.toString() : "";
      if (open && !text.startsWith('{"ctrlChannel"')) {
        take.now(data);
      } else if (!open && (text === "c" || text === "cr")) {
        open = true;
        const size = { ctrlChannel: "102938", type: "options", cols: 80, rows: 24 };
        tunnel.send(JSON.stringify(size));
        tunnel.send("1");
        done();
      }
    });
  });
  await pause(1500);
  return tunnel;
}

/** Return how long so many lines took to come back, in milliseconds. */
async function timeKeys(): Promise<number[]> {
  const take = { now: (_: Buffer): void => undefined };
  const tunnel = await openTerminal(take);
  tunnel.send(Buffer.from("stty -echo; PS1=; exec cat\n"));
  await pause(1500);
  const times: number[] = [];
  for (let number = 0; number < wish.keys; number += 1) {
    const began = process.hrtime.bigint();
    await new Promise<void>((done) => {
      take.now = () => done();
      tunnel.send(Buffer.from(`${number}\n`));
    });
    times.push(Number(process.hrtime.bigint() - began) / 1e6);
    await pause(10);
  }
  tunnel.terminate();
  return times;
}

/** Return the bytes a second that a terminal shows. */
async function timeOutput(): Promise<number> {
  let taken = 0;
  const tunnel = await openTerminal({ now: (data) => void (taken += data.length) });
  tunnel.send(Buffer.from("exec base64 /dev/zero\n"));
  await pause(500);
  const [before, began] = [taken, performance.now()];
  await pause(wish.seconds * 1000);
  const rate = ((taken - before) / (performance.now() - began)) * 1000;
  tunnel.terminate();
  return rate;
}

/** Return the bytes a second that come from a port. */
async function timePort(): Promise<number> {
  const { cookie } = await signIn();
  const device = encodeURIComponent(wish.device);
  const tunnel = new WebSocket(
    `${wish.address}/meshrelay.ashx?nodeid=${device}&tcpport=${wish.port}&auth=${cookie}`,
    insecure,
  );
  let taken = 0;
  tunnel.on("message", (data) => void (taken += data.length));
  await pause(2000);
  const [before, began] = [taken, performance.now()];
  await pause(wish.seconds * 1000);
  const rate = ((taken - before) / (performance.now() - began)) * 1000;
  tunnel.terminate();
  return rate;
}

const keys = await timeKeys();
const output = await timeOutput();
const port = await timePort();
process.stdout.write(`${JSON.stringify({ keys, output, port })}\n`);
process.exit(0);
