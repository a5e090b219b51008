#!/usr/bin/env node
// Compares our broker with npm `peer`, request by request and message by message.
//
//   PEER_BIN=target/debug/peer node tests/broker/compat.mjs
//
// PEER_BIN     our binary, started as `peer broker`
// PEER_MODULES a directory with node_modules/peer, if Node does not find it from here
//
// Each case runs the same steps against both servers; what clients can see must be equal.
// The differences that are meant are cases of their own at the end, with both behaviours spelled out.
// Exit status: 0 all equal, 1 something differs, 2 it could not be run.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const bin = path.resolve(process.env.PEER_BIN ?? path.join(here, '../../target/debug/peer'));
const { WebSocket, peerjs } = npm();
const PATIENCE = 20_000;

// --- the two servers ---

function npm() {
  const from = [here, process.cwd(), process.env.PEER_MODULES].filter(Boolean);
  const require = createRequire(import.meta.url);
  let main;
  try {
    main = require.resolve('peer', { paths: from });
  } catch {
    quit('npm `peer` is not installed: npm install peer@1.0.2, or set PEER_MODULES');
  }
  if (!existsSync(bin)) quit(`there is no ${bin}: cargo build, or set PEER_BIN`);
  const root = main.slice(0, main.lastIndexOf(`${path.sep}dist${path.sep}`));
  const ws = createRequire(main)('ws');
  return { WebSocket: ws.WebSocket ?? ws, peerjs: path.join(root, 'dist/bin/peerjs.js') };
}

function quit(why) {
  console.error(why);
  process.exit(2);
}

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

async function start(command, args, line) {
  const env = { ...process.env };
  delete env.PORT;
  delete env.PEERSERVER_PATH;
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  child.stderr.resume();
  const port = await new Promise((resolve, reject) => {
    let out = '';
    child.stdout.on('data', (data) => {
      out += data;
      const found = line.exec(out);
      if (found) resolve(Number(found[1]));
    });
    child.on('exit', (code) => reject(new Error(`${command} ended with ${code}: ${out}`)));
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    running.delete(child);
  };
  return { port, stop };
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const servers = {
  async npm(flags) {
    // `--port 0` crashes it, and a free port may be gone when it starts.
    for (let attempt = 1; ; attempt++) {
      const args = [peerjs, '--host', '127.0.0.1', '--port', String(await freePort()), ...flags];
      try {
        return await start(process.execPath, args, /port: (\d+)/);
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  },
  ours: (flags) =>
    start(bin, ['broker', '--host', '127.0.0.1', '--port', '0', ...flags], /^Listening on .*:(\d+)\//),
};

// --- HTTP ---

const HEADERS = [
  'content-type', 'content-length', 'vary', 'access-control-allow-origin',
  'access-control-allow-methods', 'access-control-allow-headers', 'access-control-allow-credentials',
  'content-security-policy', 'x-content-type-options', 'location',
];

function request(port, method, target, headers = {}, ignore = []) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path: target, headers, agent: false };
    const call = http.request(options, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (data) => (body += data));
      response.on('end', () => {
        const seen = { status: response.statusCode, body: body.replace(UUID, '<uuid>') };
        for (const name of HEADERS) seen[name] = response.headers[name];
        // RFC 9110 §8.6 forbids it there; Express sends a zero.
        if (seen.status === 204) delete seen['content-length'];
        for (const name of ignore) delete seen[name];
        resolve(seen);
      });
    });
    call.on('error', reject).end();
  });
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Sends a head as it is; status line, the interesting headers and the body of the answer. */
function raw(port, head, until = '\r\n\r\n') {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(head));
    let answer = '';
    const end = (closed) => {
      socket.destroy();
      const [top, ...rest] = answer.split('\r\n\r\n');
      const [status, ...lines] = top.split('\r\n');
      const headers = lines
        .map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()))
        .filter((line) => /^(upgrade|connection|content-type|sec-websocket-)/.test(line));
      resolve({ status, headers: headers.sort(), body: closed ? rest.join('\r\n\r\n') : '', closed });
    };
    socket.on('data', (data) => {
      answer += data.toString('latin1');
      if (answer.startsWith('HTTP/1.1 101') && answer.includes(until)) end(false);
    });
    socket.on('end', () => end(true)).on('error', reject);
  });
}

function upgradeHead(target, change = (head) => head) {
  return change(
    `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
}

// --- WebSocket ---

class Client {
  constructor(port, query, prefix = '/') {
    this.seen = [];
    this.waiting = [];
    this.socket = new WebSocket(`ws://127.0.0.1:${port}${prefix}peerjs?${query}`);
    this.socket.on('open', () => this.saw('open'));
    this.socket.on('message', (data) => this.saw(data.toString()));
    this.socket.on('pong', (data) => this.saw(`pong ${data}`));
    this.socket.on('close', (code) => this.saw(`close ${code}`));
    this.socket.on('error', (error) => this.saw(`error ${error.message}`));
  }

  saw(what) {
    this.seen.push(what);
    this.waiting.forEach((check) => check());
  }

  /** Waits until something seen satisfies the test. */
  until(test) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited in vain; saw ${this.seen}`)), PATIENCE);
      const check = () => {
        if (!this.seen.some(test)) return;
        clearTimeout(timer);
        this.waiting = this.waiting.filter((other) => other !== check);
        resolve();
      };
      this.waiting.push(check);
      check();
    });
  }

  send(message) {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  async close() {
    this.socket.close();
    await this.until((what) => what.startsWith('close'));
  }
}

let barriers = 0;

/** Everything `from` said before has arrived, or never will. */
async function barrier(from, ids, ...to) {
  for (const [index, client] of to.entries()) {
    const mark = `barrier ${++barriers}`;
    from.send({ type: 'OFFER', payload: mark, dst: ids[index] });
    await client.until((what) => what.includes(mark));
  }
}

const withoutBarriers = (client) => client.seen.filter((what) => !what.includes('barrier '));

async function join(port, id, extra = '', prefix = '/') {
  const client = new Client(port, `key=peerjs&id=${encodeURIComponent(id)}&token=t-${id}${extra}`, prefix);
  await client.until((what) => what === '{"type":"OPEN"}');
  return client;
}

// --- cases ---

const cases = [];
const same = (name, flags, run) => cases.push({ name, flags, run });
/** One request that leaves nothing behind: these share their servers. */
const asks = (name, flags, run) => cases.push({ name, flags, run, shared: true });
const oursDoes = (name, run, ours) => cases.push({ name, flags: [], run, expected: { ours } });
const differs = (name, flags, run, npm, ours) => cases.push({ name, flags, run, expected: { npm, ours } });

const CORS = ['--cors', 'http://a.test', '--cors', 'http://b.test'];
const PREFLIGHT = { Origin: 'http://a.test', 'Access-Control-Request-Method': 'GET' };

for (const [flags, prefix] of [[[], ''], [['--path', '/my/app', '--allow_discovery', ...CORS], '/my/app']]) {
  for (const [method, target, headers, ignore] of [
    ['GET', '/'],
    ['GET', ''],
    ['HEAD', '/'],
    ['GET', '/', { Origin: 'http://a.test' }],
    ['GET', '/', { Origin: 'null' }],
    ['GET', '/peerjs/id'],
    ['GET', '/peerjs/id?ts=17954391238270.2638024607888392&version=1.5.5', { Origin: 'http://b.test' }],
    ['HEAD', '/peerjs/id'],
    ['GET', '/any%20word/id'],
    ['GET', '/PEERJS/ID/'],
    ['GET', '/peerjs//id'],
    ['GET', '/peerjs///id'],
    ['GET', '//peerjs/id'],
    ['GET', '/peerjs/peers'],
    ['GET', '/peerjs/peers', { Origin: 'http://c.test' }],
    ['HEAD', '/peerjs/peers'],
    ['GET', '/peerjs'],
    ['GET', '/peerjs/'],
    ['GET', '/peerjs?key=peerjs&id=a&token=b'],
    ['GET', '/peerjs/id/more'],
    ['GET', "/a'b&c/x%3Cy?z=1"],
    ['GET', '/a/../b'],
    // Express shows its stack here.
    ['GET', '/%ff/id', {}, ['body', 'content-length']],
    ['GET', '/%f', {}, ['body', 'content-length']],
    ['POST', '/peerjs/id'],
    ['POST', '/peerjs/alice/token/id'],
    ['POST', '/peerjs/alice/token/offer', { Origin: 'http://a.test' }],
    ['PUT', '/'],
    ['DELETE', '/peerjs/peers'],
    ['PATCH', '/x'],
    ['OPTIONS', '/peerjs/id', PREFLIGHT],
    ['OPTIONS', '/peerjs/id', { ...PREFLIGHT, 'Access-Control-Request-Headers': 'X-A,X-B' }],
    ['OPTIONS', '/peerjs/id', { ...PREFLIGHT, Origin: 'http://c.test' }],
    ['OPTIONS', '/no/such/thing'],
  ]) {
    const origin = headers?.Origin ? ` from ${headers.Origin}` : '';
    asks(`${method} ${prefix}${target}${origin}`, flags, ({ port }) =>
      request(port, method, `${prefix}${target}` || '/', headers, ignore));
  }
  if (prefix) {
    for (const target of ['/', '/peerjs/id', '/my/apple/x/id', '/my', '/MY/APP/x/id']) {
      asks(`GET ${target} beside the path option`, flags, ({ port }) => request(port, 'GET', target, PREFLIGHT));
    }
    asks('OPTIONS / beside the path option', flags, async ({ port }) => {
      // Express answers 404 with its page, as to any method.
      return (await request(port, 'OPTIONS', '/elsewhere')).status;
    });
  }
}

for (const cors of [
  ['--cors'], ['--cors', '*'], ['--cors', ''], ['--cors', 'http://a.test,http://b.test'], ['--cors=http://b.test'],
  ['--cors', 'http://b.test', 'http://a.test'], ['--cors', 'true'],
]) {
  for (const origin of [undefined, 'http://a.test', 'HTTP://A.TEST', '*', 'null', 'true']) {
    for (const method of ['GET', 'OPTIONS']) {
      asks(`${method} from ${origin} with ${cors.join(' ')}`, cors, ({ port }) =>
        request(port, method, '/peerjs/id', origin ? { Origin: origin } : {}));
    }
  }
}

const QUERY = 'key=peerjs&id=up&token=t';
for (const [name, head] of Object.entries({
  'upgrade': upgradeHead(`/peerjs?${QUERY}`),
  'upgrade without a query': upgradeHead('/peerjs'),
  'upgrade with a slash at the end': upgradeHead(`/peerjs/?${QUERY}`),
  'upgrade elsewhere': upgradeHead(`/other?${QUERY}`),
  'upgrade in capitals': upgradeHead(`/PEERJS?${QUERY}`),
  'upgrade by POST': upgradeHead(`/peerjs?${QUERY}`, (head) => head.replace('GET', 'POST')),
  'upgrade to h2c': upgradeHead('/peerjs/id', (head) => head.replace('websocket', 'h2c')),
  'upgrade of version 12': upgradeHead(`/peerjs?${QUERY}`, (head) => head.replace(': 13', ': 12')),
  'upgrade of version 8': upgradeHead(`/peerjs?${QUERY}`, (head) => head.replace(': 13', ': 8')),
  'upgrade with a short nonce': upgradeHead(`/peerjs?${QUERY}`, (head) => head.replace('dGhl', 'dG')),
  'upgrade with subprotocols': upgradeHead(`/peerjs?${QUERY}`, (head) =>
    head.replace('\r\n\r\n', '\r\nSec-WebSocket-Protocol: a, b\r\n\r\n')),
  'upgrade with permessage-deflate': upgradeHead(`/peerjs?${QUERY}`, (head) =>
    head.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n')),
})) {
  asks(name, [], ({ port }) => raw(port, head));
}
for (const [name, head] of Object.entries({
  'garbage': 'hello\r\n\r\n',
  'a request without Host': 'GET / HTTP/1.1\r\n\r\n',
  'a head of 20 kB': `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
})) {
  asks(name, [], async ({ port }) => (await raw(port, head)).status);
}

for (const query of [
  '', 'key=peerjs', 'id=a&token=b', 'key=peerjs&id=&token=b', 'key=x&id=a&token=b', 'key=PEERJS&id=a&token=b',
  'key=peerjs&key=x&id=a&token=b',
]) {
  same(`refused: ?${query}`, [], async ({ port }) => {
    const client = new Client(port, query);
    await client.until((what) => what.startsWith('close'));
    return client.seen;
  });
}

same('another key', ['--key', 'a b'], async ({ port }) => {
  const refused = new Client(port, 'key=peerjs&id=a&token=b');
  await refused.until((what) => what.startsWith('close'));
  const taken = new Client(port, 'key=a+b&id=a&token=b');
  await taken.until((what) => what.includes('OPEN'));
  return [refused.seen, taken.seen];
});

same('an id that is taken', [], async ({ port }) => {
  const first = await join(port, 'a');
  const second = new Client(port, 'key=peerjs&id=a&token=other');
  await second.until((what) => what.startsWith('close'));
  await barrier(first, ['a'], first);
  return [withoutBarriers(first), second.seen];
});

same('the concurrent limit', ['--concurrent_limit', '2'], async ({ port }) => {
  const [first] = [await join(port, 'a'), await join(port, 'b')];
  const third = new Client(port, 'key=peerjs&id=c&token=t');
  await third.until((what) => what.startsWith('close'));
  await first.close();
  // The place is free once the server has seen the close, which is before it answers it.
  return [third.seen, (await join(port, 'c')).seen];
});

same('ids as the query brings them', ['--allow_discovery'], async ({ port }) => {
  const seen = [];
  for (const query of ['id=a+b', 'id=%C3%A9%22%5C', 'id=x%ff', 'id=100%', 'id=1&id=2', 'i%64=%3Cb%3E', 'id=%00']) {
    const client = new Client(port, `key=peerjs&token=t&${query}`);
    await client.until((what) => what.includes('OPEN'));
    seen.push(client.seen);
  }
  return [seen, await request(port, 'GET', '/peerjs/peers')];
});

same('relaying', [], async ({ port }) => {
  const [a, b] = [await join(port, 'a'), await join(port, 'b "☃"')];
  const dst = 'b "☃"';
  for (const message of [
    { type: 'OFFER', payload: { sdp: { sdp: 'v=0\r\n', type: 'offer' }, metadata: [1.5, null, 'é\u2028😀'] }, dst },
    { type: 'ANSWER', payload: { n: [1e21, -0.5, true] }, dst },
    { type: 'CANDIDATE', dst },
    { type: 'CANDIDATE', payload: null, dst },
    { type: 'OFFER', payload: 'text', dst: 'a' },
    { dst, extra: 1, src: 'forged', payload: 0, type: 'OFFER' },
    { type: 'OFFER', payload: 'x'.repeat(900_000), dst },
  ]) {
    a.send(message);
  }
  a.send('{"type":"ANSWER","type":"OFFER","dst":"a","dst":"b \\"\\u2603\\"","payload":1,"payload":2}');
  a.socket.send(Buffer.from(JSON.stringify({ type: 'OFFER', payload: 'binary', dst })), { binary: true });
  a.socket.send('{"type":"OFFER","payload":"in ', { fin: false });
  a.socket.send('fragments","dst":"a"}', { fin: true });
  a.socket.ping('p');
  await a.until((what) => what === 'pong p');
  await barrier(a, ['a', dst], a, b);
  await barrier(b, ['a'], a);
  // Where the pong stands among the messages is up to the server.
  return [withoutBarriers(a).filter((what) => what !== 'pong p'), withoutBarriers(b)];
});

same('what is dropped', [], async ({ port }) => {
  const [a, b] = [await join(port, 'a'), await join(port, 'b')];
  for (const message of [
    '[]', '{}', { type: 'offer', dst: 'b' }, { type: 'OPEN', dst: 'b' }, { type: 'ERROR', payload: { msg: 'x' }, dst: 'b' },
    { type: 'ID-TAKEN', dst: 'b' }, { type: 'FANCY', dst: 'b' }, { type: 5, dst: 'b' }, { dst: 'b' },
    { type: 'OFFER' }, { type: 'OFFER', dst: '' }, { type: 'OFFER', dst: null }, { type: 'HEARTBEAT' },
    { type: 'HEARTBEAT', dst: 'b' }, { type: 'LEAVE', dst: 'nobody' }, { type: 'EXPIRE', dst: 'nobody' },
  ]) {
    a.send(message);
  }
  await barrier(a, ['a', 'b'], a, b);
  return [withoutBarriers(a), withoutBarriers(b)];
});

for (const garbage of ['', '{', 'null', '5', '"x"', '\u0000', '{"type":"OFFER"', Buffer.from([0xff, 0xfe, 0])]) {
  same(`garbage does not reach others: ${JSON.stringify(garbage)}`, [], async ({ port }) => {
    const [a, b] = [await join(port, 'a'), await join(port, 'b')];
    await new Promise((resolve) => a.socket.send(garbage, resolve));
    await barrier(b, ['b'], b);
    return withoutBarriers(b);
  });
  // npm `peer` is deaf on such a socket from then on, even to its closing frame.
  oursDoes(`garbage does not make a socket deaf: ${JSON.stringify(garbage)}`, async ({ port }) => {
    const a = await join(port, 'a');
    a.socket.send(garbage);
    await barrier(a, ['a'], a);
    await a.close();
    return withoutBarriers(a);
  }, ['open', '{"type":"OPEN"}', 'close 1005']);
}

same('a reserved opcode costs its own socket', [], async ({ port }) => {
  const [a, b] = [await join(port, 'a'), await join(port, 'b')];
  a.socket._socket.write(Buffer.from([0x83, 0x80, 0, 0, 0, 0]));
  await a.until((what) => what.startsWith('close'));
  await barrier(b, ['b'], b);
  return [a.seen.filter((what) => !what.startsWith('error')), withoutBarriers(b)];
});

same('an absent peer that comes in time', [], async ({ port }) => {
  const [a, c] = [await join(port, 'a'), await join(port, 'c')];
  for (const n of [1, 2, 3]) {
    a.send({ type: n === 1 ? 'OFFER' : 'CANDIDATE', payload: n, dst: 'b' });
    await barrier(a, ['a'], a);
    c.send({ type: 'ANSWER', payload: -n, dst: 'b' });
    await barrier(c, ['c'], c);
  }
  const b = await join(port, 'b');
  await barrier(a, ['b'], b);
  return [withoutBarriers(a), withoutBarriers(b), withoutBarriers(c)];
});

same('absent peers that do not come', ['--expire_timeout', '200'], async ({ port }) => {
  const [a, c] = [await join(port, 'a'), await join(port, 'c')];
  for (const dst of ['x', 'y "q"', 'x']) {
    for (const client of [a, c]) client.send({ type: 'CANDIDATE', payload: 1, dst });
  }
  for (const client of [a, c]) {
    await client.until((what) => what.includes('EXPIRE') && what.includes('"x"'));
    await client.until((what) => what.includes('EXPIRE') && what.includes('y'));
  }
  const x = await join(port, 'x');
  await barrier(a, ['x', 'a', 'c'], x, a, c);
  return [withoutBarriers(a).sort(), withoutBarriers(c).sort(), withoutBarriers(x)];
});

same('an id is free when its socket closes, and nobody is told', [], async ({ port }) => {
  const [a, b] = [await join(port, 'a'), await join(port, 'b')];
  a.send({ type: 'OFFER', payload: 1, dst: 'b' });
  await barrier(a, ['b'], b);
  await a.close();
  const again = new Client(port, 'key=peerjs&id=a&token=another');
  await again.until((what) => what.includes('OPEN'));
  await barrier(again, ['b'], b);
  return [a.seen.filter((what) => !what.includes('barrier')), withoutBarriers(b), again.seen];
});

same('HEARTBEAT keeps alive, other messages do not', ['--alive_timeout', '1500'], async ({ port }) => {
  const [beats, talks] = [await join(port, 'beats'), await join(port, 'talks')];
  const timer = setInterval(() => {
    beats.send({ type: 'HEARTBEAT' });
    if (talks.socket.readyState === WebSocket.OPEN) talks.send({ type: 'CANDIDATE', dst: 'talks' });
  }, 200);
  await talks.until((what) => what.startsWith('close'));
  clearInterval(timer);
  await barrier(beats, ['beats'], beats);
  return [withoutBarriers(beats), [...new Set(talks.seen)]];
});

same('the WebSocket below a path', ['--path', '/my/app/'], async ({ port }) => {
  const a = await join(port, 'a', '', '/my/app/');
  await barrier(a, ['a'], a);
  return [withoutBarriers(a), await raw(port, upgradeHead(`/peerjs?${QUERY}`))];
});

// The differences that are meant.

const second = (port) => new Client(port, 'key=peerjs&id=a&token=t-a');
differs(
  'the same id and token again: OPEN, and the old socket is closed', [],
  async ({ port }) => {
    const [old, other] = [await join(port, 'a'), await join(port, 'other')];
    const attached = second(port);
    await attached.until((what) => what === 'open');
    // The upgrade is answered before the id is another socket's.
    attached.socket.ping('here');
    await attached.until((what) => what === 'pong here');
    await barrier(other, ['a', 'other'], attached, other);
    if (attached.seen.includes('{"type":"OPEN"}')) await old.until((what) => what.startsWith('close'));
    const seen = withoutBarriers(attached).filter((what) => what !== 'pong here');
    return [withoutBarriers(old).slice(2), seen];
  },
  [[], ['open']],
  [['close 1005'], ['open', '{"type":"OPEN"}']],
);
differs(
  'LEAVE and EXPIRE of a client are not passed on', [],
  async ({ port }) => {
    const [a, b] = [await join(port, 'a'), await join(port, 'b')];
    a.send({ type: 'LEAVE', dst: 'b' });
    a.send({ type: 'EXPIRE', dst: 'b' });
    await barrier(a, ['b'], b);
    return withoutBarriers(b).slice(2);
  },
  ['{"type":"LEAVE","src":"a","dst":"b"}', '{"type":"EXPIRE","src":"a","dst":"b"}'],
  [],
);
differs(
  'LEAVE without a destination does not free the id', ['--allow_discovery'],
  async ({ port }) => {
    const [a, b] = [await join(port, 'a'), await join(port, 'b')];
    a.send({ type: 'LEAVE' });
    a.send({ type: 'OFFER', payload: 'then', dst: 'b' });
    await b.until((what) => what.includes('then'));
    return (await request(port, 'GET', '/peerjs/peers')).body;
  },
  '["b"]',
  '["a","b"]',
);

// --- running them ---

/** Both servers with these flags. */
async function pair(flags) {
  const both = await Promise.all([servers.npm(flags), servers.ours(flags)]);
  const stop = () => Promise.all(both.map((server) => server.stop()));
  return { both, stop };
}

async function check({ run, expected }, { both }) {
  if (expected && !('npm' in expected)) {
    assert.deepEqual(await run(both[1]), expected.ours);
    return;
  }
  const [npm, ours] = await Promise.all(both.map(run));
  if (expected) {
    assert.deepEqual(npm, expected.npm, `npm \`peer\` changed: ${JSON.stringify(npm)}`);
    assert.deepEqual(ours, expected.ours);
  } else {
    assert.deepEqual(ours, npm);
  }
}

const shared = new Map();
let failed = 0;
for (const [index, one] of cases.entries()) {
  const flags = one.flags.join(' ');
  let servers;
  try {
    servers = one.shared ? (shared.get(flags) ?? (await pair(one.flags))) : await pair(one.flags);
    if (one.shared) shared.set(flags, servers);
    await check(one, servers);
    console.log(`ok ${index + 1} ${one.expected ? 'differs as meant: ' : ''}${one.name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${index + 1} ${one.name} [${flags}]`);
    console.log(String(error.message).slice(0, 2_000).replace(/^/gm, '  '));
  } finally {
    if (!one.shared) await servers?.stop();
  }
}
for (const servers of shared.values()) await servers.stop();
console.log(`${cases.length - failed} of ${cases.length} cases as they should be, npm \`peer\` beside ours`);
process.exit(failed ? 1 : 0);
