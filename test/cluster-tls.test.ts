/** Managers and nodes over TLS on the loopback: joining, roles, removal, renewal, and what a node says when that fails. */
import { spawn } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Authority, certificateRequest, ClusterError, newKey, type Identity, type Role } from '../src/host/index.js';
import { httpText, issue, LOOPBACK, received, refused, startLab, stateFiles, type Lab } from './support/cluster-lab.js';
import { waitFor } from './support/lab.js';

const DAY = 86_400_000;
const labs: Lab[] = [];
const servers: Server[] = [];

/** A manager that the end of the test closes. */
async function lab(...options: Parameters<typeof startLab>): Promise<Lab> {
  const started = await startLab(...options);
  labs.push(started);
  return started;
}

test.after.each(async () => {
  for (const one of labs.splice(0)) await one.close();
  for (const server of servers.splice(0)) server.close();
});

/** Starts any server, and returns its place. */
async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  return `${LOOPBACK}:${(server.address() as AddressInfo).port}`;
}

/** A server that presents a certificate chain, and records every octet that it gets within TLS. */
async function pretender(
  { key, certificate }: Pick<Identity, 'key' | 'certificate'>,
  ...chain: string[]
): Promise<{ place: string; octets: () => number; connections: () => number }> {
  let [octets, connections] = [0, 0];
  const cert = [certificate, ...chain].map((pem) => `${pem.trimEnd()}\n`).join('');
  const server = createTlsServer({ key, cert, requestCert: true, rejectUnauthorized: false }, (socket) => {
    socket.on('data', (data: Buffer) => (octets += data.length)).on('error', () => undefined);
  });
  server.on('tlsClientError', () => undefined).on('connection', () => connections++);
  return { place: await listen(server), octets: () => octets, connections: () => connections };
}

async function failure(promise: Promise<unknown>): Promise<ClusterError> {
  try {
    await promise;
  } catch (error) {
    return error as ClusterError;
  }
  throw new Error('nothing was thrown');
}

/** Sends one request on a connection with a certificate, or without one. */
async function request(
  { connect }: Lab,
  method: string,
  path: string,
  body?: unknown,
  own?: Pick<Identity, 'key' | 'certificate'>,
): Promise<ReturnType<typeof refused> & { text: string }> {
  const socket = await connect(own === undefined ? {} : { key: own.key, cert: own.certificate });
  const text = received(socket);
  socket.write(httpText(method, path, body === undefined ? '' : JSON.stringify(body)));
  const all = await text;
  return { ...refused(all), text: all };
}

test('a node joins with a token, in the role of the token', async () => {
  const { join: joins, backend, token, authority } = await lab();
  for (const role of ['worker', 'manager'] as Role[]) {
    const { identity, files, cluster } = await joins({ token: token(role), name: `a-${role}`, address: '192.0.2.7' });
    assert.equal([identity.role, identity.cluster], [role, authority.cluster]);
    assert.equal(cluster, { gossipKeys: ['a key'] });
    const { name, address, fingerprint, until } = backend.nodes.get(identity.node)!;
    assert.equal([name, address, fingerprint, until], [`a-${role}`, '192.0.2.7', identity.fingerprint, identity.until]);
    assert.equal(files.identity(), identity);
    assert.equal(files.managers(), backend.places);
    assert.is(statSync(join(files.directory, 'node.pem')).mode & 0o777, 0o600);
  }
  const { identity } = await joins();
  assert.is(backend.nodes.get(identity.node)!.address, LOOPBACK, 'the address from which it connected');
});

test('a node whose answer was lost joins again as the same node, and one that has joined does not join', async () => {
  const { join: joins, backend } = await lab();
  const files = stateFiles();
  backend.refusal = { refusal: { code: 'unavailable', message: 'no store' } };
  assert.is((await failure(joins({ files }))).code, 'unavailable');
  const key = await files.joiningKey();
  backend.refusal = undefined;
  const { identity } = await joins({ files });
  assert.is(createPrivateKey(identity.key).export({ type: 'pkcs8', format: 'pem' }), key);
  assert.match((await failure(joins({ files }))).message, /in cluster cluster\d+ already .*; run "vtep leave" first/);
});

test('the private key of a node never leaves it', async () => {
  const { join: joins, place, identity: manager, authority } = await lab();
  // A relay that has the manager's key sees what the node sends.
  let seen = '';
  const [host, port] = place.split(':') as [string, string];
  const cert = `${manager.certificate.trimEnd()}\n${authority.certificate}`;
  const relay = createTlsServer({ key: manager.key, cert }, (socket) => {
    void import('node:tls').then(({ connect }) => {
      const onward = connect({ host, port: Number(port), rejectUnauthorized: false });
      socket.on('data', (data: Buffer) => (seen += data.toString('latin1'))).on('error', () => undefined);
      onward.on('error', () => undefined);
      socket.pipe(onward).pipe(socket);
    });
  });
  const { identity } = await joins({ managers: [await listen(relay)] });
  assert.match(seen, /POST \/v1\/join/);
  const jwk = createPrivateKey(identity.key).export({ format: 'jwk' });
  const secret = Buffer.from(jwk.d!, 'base64url');
  for (const form of ['base64', 'hex', 'latin1'] as const)
    assert.not.ok(seen.includes(secret.toString(form).slice(0, 20)), form);
  assert.not.ok(/PRIVATE/.test(seen));
  const body = JSON.parse(seen.slice(seen.indexOf('\r\n\r\n') + 4)) as { csr: string };
  assert.not.ok(Buffer.from(body.csr.replace(/-----.*/g, ''), 'base64').includes(secret));
});

test('a manager with another CA than that of the token learns nothing', async () => {
  const { join: joins, authority } = await lab();
  // The same names and all, but another key.
  const other = await Authority.open(await Authority.create(authority.cluster));
  const fake = await pretender(await issue(other, 'manager1', 'manager'), other.certificate);
  const error = await failure(joins({ managers: [fake.place] }));
  assert.is(error.code, 'digest');
  assert.match(error.message, /127\.0\.0\.1:\d+: the CA of this manager is not the one of the token.*not sent/);
  assert.equal([fake.connections(), fake.octets()], [1, 0]);
});

test('one who presents the CA of the token without its key learns nothing either', async () => {
  const { join: joins, authority } = await lab();
  const other = await Authority.open(await Authority.create(authority.cluster));
  const own = await issue(other, 'manager1', 'manager');
  // The issuer's name is the same, so that the chain looks complete.
  const fake = await pretender(own, authority.certificate);
  const error = await failure(joins({ managers: [fake.place] }));
  assert.ok(['wrong-cluster', 'not-a-manager'].includes(error.code), error.message);
  assert.ok(fake.connections() > 0);
  assert.is(fake.octets(), 0);
});

test('a worker cannot pass for a manager, to a node that joins or to one that has joined', async () => {
  const { join: joins, authority, client, backend } = await lab();
  const worker = await pretender(await issue(authority, 'worker1', 'worker'), authority.certificate);
  const error = await failure(joins({ managers: [worker.place] }));
  assert.is(error.code, 'not-a-manager');
  assert.match(error.message, /its certificate is that of a worker/);
  const { identity, files } = await joins();
  const node = client(files, identity, {}, { managers: [worker.place] });
  assert.match((await failure(node.command({ do: 'whoami' }))).message, /that of a worker/);
  assert.is(worker.octets(), 0);
  assert.equal(backend.commands, []);
});

test('a command counts for the node and the role of the certificate, whatever it says itself', async () => {
  const { join: joins, backend, client, token } = await lab();
  const worker = await joins();
  const manager = await joins({ token: token('manager') });
  const create = { do: 'create-network', actor: { node: manager.identity.node, role: 'manager' }, role: 'manager' };
  const error = await failure(client(worker.files, worker.identity).command(create));
  assert.equal([error.code, error.message], ['forbidden', 'a worker may not create a network']);
  assert.equal(await client(manager.files, manager.identity).command(create), {
    done: 'create-network',
    by: manager.identity.node,
  });
  assert.equal(
    backend.commands.map(({ actor }) => actor),
    [worker.identity, manager.identity].map(({ node, role }) => ({ node, role })),
  );
});

test('a worker whose request asks for the role of a manager stays a worker when it renews', async () => {
  const started = await lab();
  const { identity } = await started.join();
  const csr = await certificateRequest(await newKey());
  const { status, text } = await request(started, 'POST', '/v1/renew', { csr }, identity);
  assert.is(status, 200);
  const { certificate } = JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as { certificate: string };
  const renewed = started.backend.nodes.get(identity.node)!.fingerprints;
  assert.is(renewed.length, 2);
  const socket = await started.connect({ key: identity.key, cert: identity.certificate });
  socket.destroy();
  assert.match(certificate, /BEGIN CERTIFICATE/);
  const asManager = await request(started, 'POST', '/v1/renew', { csr, role: 'manager' }, identity);
  assert.equal([asManager.status, asManager.code], [400, 'invalid']);
});

test('commands share connections, also after a refusal, and none survives a removal', async () => {
  const { join: joins, backend, client: newClient, server } = await lab();
  const { identity, files } = await joins();
  let streams = 0;
  const node = newClient(files, identity, { connected: () => streams++ });
  await waitFor('a stream', () => streams === 1);
  for (let i = 0; i < 20; i++) {
    assert.is((await failure(node.command({ do: 'create-network' }))).code, 'forbidden');
    await node.command({ do: 'whoami' });
  }
  assert.is(server.counts.connections, 2);
  await Promise.all(Array.from({ length: 200 }, () => node.command({ do: 'whoami' })));
  assert.ok(server.counts.connections <= 9, `${server.counts.connections}`);
  backend.remove(identity.node);
  // A connection may end under a request: then nobody knows whether that was carried out.
  const codes: string[] = [];
  while (codes.at(-1) !== 'revoked') codes.push((await failure(node.command({ do: 'whoami' }))).code);
  for (const code of codes.slice(0, -1)) assert.is(code, 'lost');
});

test('the next certificate of a promoted node has its new role', async () => {
  const { join: joins, backend, client: newClient } = await lab();
  const { identity, files } = await joins();
  const node = newClient(files, identity);
  backend.nodes.set(identity.node, { ...backend.nodes.get(identity.node)!, role: 'manager' });
  assert.is((await failure(node.command({ do: 'create-network' }))).code, 'forbidden');
  assert.is((await node.renew()).role, 'manager');
  assert.equal(await node.command({ do: 'create-network' }), { done: 'create-network', by: identity.node });
});

test('everything but joining needs a certificate of this CA that is valid', async () => {
  const started = await lab();
  const { authority, backend } = started;
  const other = await Authority.open(await Authority.create(authority.cluster));
  const past = await Authority.open(await Authority.create('another'), () => Date.now() - 200 * DAY);
  const foreign = await issue(other, started.identity.node, 'manager');
  const expired = await issue(authority, started.identity.node, 'manager', -60_000);
  const removed = await issue(authority, 'nobody', 'manager');
  const expiredForeign = await issue(past, started.identity.node, 'manager');
  for (const [method, path] of [
    ['POST', '/v1/commands'],
    ['POST', '/v1/renew'],
    ['GET', '/v1/assignments'],
    ['GET', '/v1/join'],
    ['GET', '/'],
    ['GET', '/v1/joins'],
  ] as const) {
    const codes: (string | undefined)[] = [];
    for (const own of [undefined, foreign, expiredForeign, expired, removed])
      codes.push((await request(started, method, path, undefined, own)).code);
    assert.equal(
      codes,
      path === '/v1/join'
        ? Array<string>(5).fill('method-not-allowed')
        : ['no-certificate', 'wrong-cluster', 'wrong-cluster', 'expired', 'revoked'],
      `${method} ${path}`,
    );
  }
  assert.equal(backend.commands, []);
  assert.is(started.server.counts.certificates, 25);
  // A command without a body, of a node that may: only what is wrong with it is said.
  assert.is((await request(started, 'POST', '/v1/commands', undefined, started.identity)).code, 'invalid');
  assert.is((await request(started, 'POST', '/v1/commands', { do: 'x' }, started.identity)).status, 200);
});

test('a removed node is locked out at once, also from an open stream', async () => {
  // Without the event, only a heartbeat would end the stream.
  const started = await lab({ limits: { heartbeat: 3_600_000 } });
  const { backend } = started;
  const { identity } = await started.join();
  const stays = await started.join();
  const open = async ({ key, certificate: cert }: Identity): Promise<{ socket: TLSSocket; text: Promise<string> }> => {
    const socket = await started.connect({ key, cert });
    const text = received(socket);
    socket.write(httpText('GET', '/v1/assignments'));
    return { socket, text };
  };
  const stream = await open(identity);
  const other = await open(stays.identity);
  // A connection that has not asked yet, and one in the middle of a command.
  const idle = await started.connect({ key: identity.key, cert: identity.certificate });
  const begun = await started.connect({ key: identity.key, cert: identity.certificate });
  const ends = [idle, begun].map(received);
  begun.write('POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"do":"whoami"');
  await waitFor('two streams', () => backend.watchers.size === 2);
  backend.remove(identity.node);
  await waitFor('the end of the stream', () => stream.socket.destroyed, 10_000);
  assert.match(await stream.text, /"assignment"/);
  // The manager may hear of their certificates only now.
  for (const text of await Promise.all(ends)) assert.match(text, /^$|"code":"revoked"/);
  await waitFor('the end of a stream', () => backend.watchers.size === 1);
  assert.equal([...backend.watchers.keys()], [stays.identity.node]);
  assert.is(other.socket.destroyed, false);
  other.socket.destroy();
  await other.text;
  for (const [method, path, body] of [
    ['GET', '/v1/assignments'],
    ['POST', '/v1/commands', { do: 'whoami' }],
    ['POST', '/v1/renew', { csr: await certificateRequest(await newKey()) }],
  ] as const) {
    const answer = await request(started, method, path, body, identity);
    assert.equal([answer.status, answer.code], [403, 'revoked']);
    assert.match(answer.message!, /removed from the cluster; run "vtep leave" and "vtep join"/);
  }
  assert.equal(backend.commands, []);
});

test('a stream ends when the certificate of its node expires', async () => {
  let offset = 0;
  const started = await lab({ now: () => Date.now() + offset, limits: { heartbeat: 20 } });
  const { identity } = await started.join();
  const socket = await started.connect({ key: identity.key, cert: identity.certificate });
  const text = received(socket);
  socket.write(httpText('GET', '/v1/assignments'));
  await waitFor('a stream', () => started.backend.watchers.size === 1);
  offset = 91 * DAY;
  await waitFor('the end of the stream', () => socket.destroyed, 10_000);
  assert.match(await text, /"assignment"/);
});

test('a client follows the assignments of its node, and comes back when the manager does', async () => {
  const first = await lab();
  const { identity, files } = await first.join();
  const seen: unknown[] = [];
  const told: string[] = [];
  const node = first.client(files, identity, {
    assignment: (assignment) => void seen.push(assignment),
    connected: (manager) => void told.push(`connected ${manager}`),
    disconnected: ({ code }, delay) => {
      assert.ok(delay >= 10 && delay <= 100, `${delay}`);
      told.push(code);
    },
  });
  await waitFor('an assignment', () => seen.length === 1);
  assert.equal(seen, [{ for: identity.node, version: 0 }]);
  first.backend.assign(identity.node, { version: 1 });
  await waitFor('a second assignment', () => seen.length === 2);
  assert.equal(seen[1], { version: 1 });
  const { port } = first.server;
  await first.server.close();
  await waitFor('three attempts', () => told.filter((one) => one === 'unreachable').length >= 3);
  assert.is((await failure(node.command({ do: 'whoami' }))).code, 'unreachable');
  const { authority, backend, identity: manager } = first;
  await lab({ authority, backend, identity: manager, port });
  await waitFor('a second connection', () => told.filter((one) => one.startsWith('connected')).length === 2);
  assert.equal(await node.command({ do: 'whoami' }), { done: 'whoami', by: identity.node });
});

test('a client takes another manager when one is gone, and follows a changed list', async () => {
  const first = await lab();
  const { authority, backend } = first;
  const { identity, files } = await first.join();
  let connected: string[] = [];
  const node = first.client(files, identity, { connected: (place) => void connected.push(place) });
  await waitFor('a connection', () => connected.length === 1);
  const second = await lab({ authority, backend, identity: await issue(authority, 'second', 'manager') });
  assert.equal(backend.places, [first.place, second.place]);
  backend.assign(identity.node, {});
  await waitFor('a second manager', () => node.managers.length === 2);
  assert.equal(files.managers(), [first.place, second.place]);
  connected = [];
  await first.server.close();
  assert.is(((await node.command({ do: 'whoami' })) as { by: string }).by, identity.node);
  await waitFor('another connection', () => connected.length > 0);
  assert.equal(connected, [second.place]);
});

test('a stream in which nothing arrives is given up', async () => {
  const started = await lab({ limits: { heartbeat: 3_600_000 } });
  const { identity, files } = await started.join();
  const errors: string[] = [];
  started.client(
    files,
    identity,
    { disconnected: ({ message }) => void errors.push(message) },
    { times: { silence: 100 } },
  );
  await waitFor('the end of the stream', () => errors.length > 0);
  assert.match(errors[0]!, /nothing arrived in 100 ms/);
});

test('a certificate renews itself after half of its time, and the stream continues with the new one', async () => {
  const started = await lab();
  const { backend } = started;
  const { identity, files } = await started.join();
  let offset = 0;
  const renewed: Identity[] = [];
  let connections = 0;
  const node = started.client(
    files,
    identity,
    {
      renewed: (one) => {
        renewed.push(one);
        offset = 0; // at the later time, the new certificate would be due as well
      },
      connected: () => connections++,
    },
    { now: () => Date.now() + offset, random: () => 0.5, times: { renewal: 20 } },
  );
  await waitFor('a connection', () => connections === 1);
  offset = 57 * DAY; // the point is 65 % of 90 days and an hour
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(renewed, []);
  offset = 59 * DAY;
  await waitFor('a renewal', () => renewed.length === 1 && connections === 2);
  const [next] = renewed as [Identity];
  assert.is.not(next.fingerprint, identity.fingerprint);
  assert.is.not(next.key, identity.key);
  assert.equal([next.node, next.role, next.cluster], [identity.node, identity.role, identity.cluster]);
  assert.equal(files.identity(), next);
  assert.equal(node.identity, next);
  assert.equal(backend.nodes.get(identity.node)!.fingerprints, [identity.fingerprint, next.fingerprint]);
  assert.equal(await node.command({ do: 'whoami' }), { done: 'whoami', by: identity.node });
  backend.remove(identity.node);
  for (const own of [identity, next])
    assert.is((await request(started, 'POST', '/v1/commands', { do: 'x' }, own)).code, 'revoked');
});

test('a renewal that fails is tried again', async () => {
  const started = await lab();
  const { identity, files } = await started.join();
  const record = started.backend.nodes.get(identity.node)!;
  let failures = 0;
  const renewed: Identity[] = [];
  started.client(
    files,
    identity,
    { notRenewed: () => failures++, renewed: (one) => void renewed.push(one) },
    { now: () => Date.now() + 80 * DAY, managers: [`${LOOPBACK}:1`, started.place], times: { renewal: 20 } },
  );
  const renew = started.backend.renew.bind(started.backend);
  started.backend.renew = async () => ({ refusal: { code: 'unavailable', message: 'no store' } });
  await waitFor('two failures', () => failures >= 2);
  assert.equal([files.identity(), record.fingerprints.length], [identity, 1]);
  started.backend.renew = renew;
  await waitFor('a renewal', () => renewed.length > 0);
});

test('a manager presents its renewed certificate', async () => {
  const { server, authority, connect, join: joins } = await lab();
  server.renewed(await issue(authority, 'manageragain', 'manager'));
  const socket = await connect();
  assert.is(socket.getPeerCertificate().subject.CN, 'manageragain');
  assert.is(socket.getProtocol(), 'TLSv1.3');
  socket.destroy();
  await assert.is((await joins()).identity.role, 'worker');
  assert.ok(await refusesTls12(connect));
});

async function refusesTls12(connect: Lab['connect']): Promise<boolean> {
  const error = await failure(connect({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }));
  return /protocol version/i.test(error.message);
}

/** What `openssl s_client` prints. */
function client(place: string, input: string, ...args: string[]): Promise<string> {
  const all = ['s_client', '-connect', place, '-showcerts', '-ign_eof', ...args];
  const child = spawn('openssl', all, { stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', () => resolve(text)));
}

test('openssl s_client as a node: it verifies the manager, runs a command, and gets no TLS 1.2', async () => {
  const { place, connect, join: joins, authority } = await lab();
  const { identity, files } = await joins();
  const ca = join(files.directory, 'ca.pem');
  writeFileSync(ca, authority.certificate);
  const node = join(files.directory, 'node.pem');
  assert.ok(readFileSync(node, 'utf8').includes(identity.certificate));
  const trust = ['-CAfile', ca, '-verify_return_error', '-purpose', 'sslserver'];
  const body = '{"do":"whoami"}';
  const post = `POST /v1/commands HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const text = await client(place, post, ...trust, '-cert', node, '-key', node);
  assert.match(text, /Verify return code: 0 \(ok\)/);
  assert.match(text, /Protocol\s*: TLSv1\.3|New, TLSv1\.3/);
  assert.match(text, new RegExp(`"by":"${identity.node}"`));
  assert.match(await client(place, post, ...trust), /"code":"no-certificate"/);
  assert.match(await client(place, '', ...trust, '-tls1_2'), /alert protocol version/);
  assert.ok(await refusesTls12(connect));
});

test('what a node says about an address where no manager of its cluster answers', async () => {
  const started = await lab();
  const { join: joins, client: newClient } = started;
  const closed = createTcpServer();
  const nothing = await listen(closed);
  closed.close();
  const silent = await listen(createTcpServer(() => undefined));
  const plain = await listen(createHttpServer((_, response) => response.end('hello')));
  const hangsUp = await listen(createTcpServer((socket) => socket.destroy()));
  const other = await Authority.open(await Authority.create('othercluster'));
  const strange = await pretender(await issue(other, 'x', 'manager')); // without a CA in its chain
  const foreign = await pretender(await issue(other, 'manager1', 'manager'), other.certificate);
  const limits = { connect: 300 };
  for (const [manager, code, expected] of [
    [nothing, 'unreachable', /nothing listens there; check address and port \(a manager's is 2377\)/],
    [silent, 'not-a-manager', /answers no TLS handshake in 300 ms/],
    [plain, 'not-a-manager', /is not a manager of weft: the TLS handshake fails/],
    [hangsUp, 'not-a-manager', /is not a manager of weft/],
    [strange.place, 'not-a-manager', /presents no certificate of a cluster/],
    ['nowhere.invalid', 'unreachable', /nowhere\.invalid:2377: the name nowhere\.invalid has no address/],
    [foreign.place, 'digest', /is not the one of the token/],
  ] as const) {
    const error = await failure(joins({ managers: [manager], limits }));
    assert.instance(error, ClusterError, manager);
    assert.is(error.code, code, error.message);
    assert.match(error.message, expected);
    assert.ok(error.message.includes(manager.split(':')[0]!));
  }
  const both = await failure(joins({ managers: [nothing, foreign.place], limits }));
  assert.is(both.code, 'digest');
  assert.match(both.message, /nothing listens there.*not the one of the token/);
  assert.match((await failure(joins({ managers: ['a b'] }))).message, /a b is not the address of a manager, such as/);
  assert.match((await failure(joins({ token: 'WEFT-1-x' }))).message, /the token has 1 characters in its third part/);
  // A node of the cluster.
  const { identity, files } = await joins({ managers: [nothing, started.place], limits });
  const error = await failure(newClient(files, identity, {}, { managers: [foreign.place] }).command({ do: 'x' }));
  assert.is(error.code, 'wrong-cluster');
  assert.match(error.message, /not one of a manager of this cluster; check the address/);
});

test('what a node says when clocks differ, and when certificates have expired', async () => {
  const pem = await Authority.create('clocks');
  const [past, now, future] = await Promise.all(
    [-100, 0, 100].map((days) => Authority.open(pem, () => Date.now() + days * DAY)),
  );
  for (const [authority, code, expected] of [
    [past!, 'expired', /certificate has expired: it is valid from 20.*Z to 20.*Z, and the clock of this host says 20/],
    [future!, 'clock', /is not valid yet: it is valid from 20.*; correct the clock that is wrong/],
  ] as const) {
    const { join: joins } = await lab({ authority });
    const error = await failure(joins());
    assert.is(error.code, code, error.message);
    assert.match(error.message, expected);
  }
  const { client: newClient, place } = await lab({ authority: now! });
  const node = newClient(stateFiles(), await issue(past!, 'node1', 'worker'), {}, { managers: [place] });
  const error = await failure(node.command({ do: 'x' }));
  assert.is(error.code, 'expired');
  assert.match(error.message, /the client certificate has expired, or the clocks.*"vtep leave" and "vtep join"/);
});

test('a second manager on the same port says who has it', async () => {
  const { server } = await lab();
  assert.match(
    (await failure(lab({ port: server.port }))).message,
    /127\.0\.0\.1 port \d+: another program listens there; stop it \("ss -tlnp"/,
  );
  assert.match((await failure(lab({ host: '192.0.2.1' }))).message, /this host does not have that address/);
});

test.run();
