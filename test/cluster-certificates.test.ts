/** Certificates of the cluster, judged by openssl, and join tokens. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { requestedKey } from '../src/host/cluster/authority.js';
import { identityOf, renewalTime } from '../src/host/cluster/certificate.js';
import { sameSecret } from '../src/host/cluster/token.js';
import {
  Authority,
  certificateRequest,
  ClusterError,
  digestOf,
  newKey,
  newSecret,
  nodeIdOf,
  parseToken,
  printToken,
} from '../src/host/index.js';
import { issue, stateFiles } from './support/cluster-lab.js';

const folder = mkdtempSync(join(tmpdir(), 'weft-certificates-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** Writes a file for openssl. */
function file(text: string): string {
  const path = join(folder, `${++files}.pem`);
  writeFileSync(path, text);
  return path;
}

const openssl = (...args: string[]): string =>
  execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
const spki = (key: KeyObject): string => key.export({ type: 'spki', format: 'der' }).toString('hex');
/** What `openssl verify` says. */
function verify(...args: string[]): string {
  const { stdout, stderr } = spawnSync('openssl', ['verify', '-x509_strict', ...args], { encoding: 'utf8' });
  return stdout + stderr;
}

const made = await Authority.create('acluster');
const authority = await Authority.open(made);

test('openssl reads a CA: ECDSA P-256, 20 years, signs certificates and nothing else', () => {
  const text = openssl('x509', '-in', file(made.certificate), '-noout', '-text');
  assert.match(text, /Subject: O = acluster, CN = weft cluster CA/);
  assert.match(text, /Issuer: O = acluster, CN = weft cluster CA/);
  assert.match(text, /Signature Algorithm: ecdsa-with-SHA256/);
  assert.match(text, /NIST CURVE: P-256/);
  assert.match(text, /Basic Constraints: critical\n\s+CA:TRUE, pathlen:0/);
  assert.match(text, /Key Usage: critical\n\s+Certificate Sign, CRL Sign\n/);
  const { validFrom, validTo } = new X509Certificate(made.certificate);
  const years = (Date.parse(validTo) - Date.now()) / (365.25 * 86_400_000);
  assert.ok(years > 19.99 && years < 20.01, `${years} years`);
  assert.ok(Date.parse(validFrom) < Date.now() - 3_500_000);
  assert.match(verify('-CAfile', file(made.certificate), file(made.certificate)), /: OK\n/);
});

test('openssl verifies the certificate of a node, and reads node, role and cluster in its subject', async () => {
  const ca = file(made.certificate);
  for (const role of ['manager', 'worker'] as const) {
    const { certificate, fingerprint, key } = await issue(authority, 'node1', role);
    const path = file(certificate);
    const text = openssl('x509', '-in', path, '-noout', '-text');
    assert.match(text, new RegExp(`Subject: O = acluster, OU = ${role}, CN = node1\n`));
    assert.match(text, /CA:FALSE/);
    assert.match(text, /Key Usage: critical\n\s+Digital Signature\n/);
    assert.is(verify('-CAfile', ca, '-purpose', 'sslclient', path), `${path}: OK\n`);
    // A worker cannot pass for a manager with any TLS library.
    if (role === 'manager') assert.is(verify('-CAfile', ca, '-purpose', 'sslserver', path), `${path}: OK\n`);
    else assert.match(verify('-CAfile', ca, '-purpose', 'sslserver', path), /unsuitable certificate purpose/);
    const hex = openssl('x509', '-in', path, '-noout', '-fingerprint', '-sha256').trim().split('=')[1]!;
    assert.is(fingerprint, hex.replaceAll(':', '').toLowerCase());
    assert.is(openssl('pkey', '-in', file(key), '-pubout'), openssl('x509', '-in', path, '-noout', '-pubkey'));
    const { validTo } = new X509Certificate(certificate);
    const days = (Date.parse(validTo) - Date.now()) / 86_400_000;
    assert.ok(days > 89.9 && days < 90.1, `${days} days`);
  }
  const other = await Authority.create('acluster');
  const { certificate } = await issue(authority, 'node1', 'worker');
  assert.match(verify('-CAfile', file(other.certificate), file(certificate)), /error/);
});

test('openssl verifies the request for a certificate, and the CA signs one of openssl', async () => {
  const key = await newKey();
  const request = file(await certificateRequest(key));
  assert.match(
    spawnSync('openssl', ['req', '-in', request, '-noout', '-verify'], { encoding: 'utf8' }).stderr,
    /verify OK/,
  );
  const foreign = ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  // What it says about itself does not count.
  const asked = openssl(...foreign, '-keyout', join(folder, 'foreign.pem'), '-subj', '/O=other/OU=manager/CN=other');
  const issued = await authority.sign(asked, { node: 'node2', role: 'worker' });
  assert.equal([issued.node, issued.role, issued.cluster], ['node2', 'worker', 'acluster']);
});

test('a request with a wrong signature, another kind of key, or none at all gets no certificate', async () => {
  const refusedFor = async (csr: string): Promise<string> => {
    try {
      await authority.sign(csr, { node: 'node1', role: 'worker' });
    } catch (error) {
      assert.instance(error, ClusterError);
      assert.is((error as ClusterError).code, 'invalid');
      return (error as Error).message;
    }
    throw new Error('it was signed');
  };
  const pem = (der: Buffer): string =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  const good = await certificateRequest(await newKey());
  const der = Buffer.from(good.replace(/-----.*/g, ''), 'base64');
  const key = spki(await requestedKey(good));
  let refusals = 0;
  for (let at = 0; at < der.length; at++) {
    const changed = Buffer.from(der);
    changed[at]! ^= 1;
    try {
      // The library takes some encodings that DER does not allow. The signature is over the key, whatever is around it.
      assert.is(spki(await requestedKey(pem(changed))), key, `octet ${at}`);
    } catch (error) {
      assert.match((error as Error).message, /^csr: /, `octet ${at}`);
      refusals++;
    }
  }
  assert.ok(refusals > der.length - 10, `${refusals} of ${der.length} changes are refused`);
  for (const length of [0, 1, 50, der.length - 1]) await refusedFor(pem(der.subarray(0, length)));
  await refusedFor('');
  await refusedFor(good + good);
  await refusedFor(made.certificate);
  for (const kind of [['rsa:2048'], ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'], ['ed25519']]) {
    const args = ['req', '-new', '-nodes', '-subj', '/CN=x', '-keyout', join(folder, 'x.pem'), '-newkey', ...kind];
    assert.match(await refusedFor(openssl(...args)), /P-256/, kind[0]);
  }
});

test('a key, a certificate and a CA that do not belong together are refused', async () => {
  const one = await issue(authority, 'node1', 'worker');
  const two = await issue(authority, 'node2', 'worker');
  const other = await Authority.create('acluster');
  assert.equal(identityOf(one.key, one.certificate, one.ca), one);
  assert.throws(() => identityOf(two.key, one.certificate, one.ca), /not one of the key/);
  assert.throws(() => identityOf(one.key, one.certificate, other.certificate), /not issued by/);
  assert.throws(() => identityOf(one.key, one.ca, one.ca), /not one of a node/);
  assert.throws(() => identityOf('x', one.certificate, one.ca), /cannot be read/);
  assert.not.ok((await rejected(Authority.open({ certificate: made.certificate, key: one.key }))).includes('BEGIN'));
  assert.match(await rejected(Authority.open({ certificate: one.certificate, key: one.key })), /CA of weft/);
});

async function rejected(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

test('a node that repeats its request has the same id, 25 characters like those of Docker', async () => {
  const ids = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const key = createPublicKey(await newKey());
    assert.is(nodeIdOf(key), nodeIdOf(key));
    assert.match(nodeIdOf(key), /^[0-9a-z]{25}$/);
    ids.add(nodeIdOf(key));
  }
  assert.is(ids.size, 20);
});

test('a certificate is renewed at a random point between 50 % and 80 % of its lifetime', () => {
  const times = { from: 1000, until: 2000 };
  assert.equal(
    [0, 0.5, 1].map((random) => renewalTime(times, random)),
    [1500, 1650, 1800],
  );
});

test('the state directory keeps key and certificates in one file of mode 0600', async () => {
  const state = stateFiles();
  assert.is(state.identity(), undefined);
  const identity = await issue(authority, 'node1', 'worker');
  state.write(identity);
  assert.equal(state.identity(), identity);
  const path = join(state.directory, 'node.pem');
  assert.is(statSync(path).mode & 0o777, 0o600);
  assert.is(statSync(state.directory).mode & 0o777, 0o700);
  assert.match(openssl('x509', '-in', path, '-noout', '-subject'), /CN = node1/);
  // A process of the same id was killed while it wrote: in a container, ids repeat.
  writeFileSync(`${path}.${process.pid}.new`, 'half');
  const later = await issue(authority, 'node1', 'worker');
  state.write(later);
  assert.equal(state.identity(), later);
  writeFileSync(path, later.key + identity.certificate + later.ca);
  assert.throws(() => state.identity(), /node\.pem is damaged: the certificate is not one of the key; restore/);
});

// --- Tokens.

const token = { digest: digestOf(new X509Certificate(made.certificate).raw), secret: newSecret() };

test('a token is WEFT-1-<digest>-<secret>, and reads as it was printed', () => {
  const text = printToken(token);
  assert.match(text, /^WEFT-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  assert.equal(parseToken(text), token);
  assert.equal(parseToken(` ${text}\n`), token);
  // The digest is SHA-256 of the certificate in DER, as openssl has it.
  const der = execFileSync('openssl', ['x509', '-in', file(made.certificate), '-outform', 'DER']);
  const hash = BigInt(`0x${createHash('sha256').update(der).digest('hex')}`);
  assert.is(BigInt([...token.digest].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n)), hash);
});

test('the smallest and the largest secret have as many digits', () => {
  assert.is(
    newSecret(() => new Uint8Array(16)),
    '0'.repeat(25),
  );
  assert.is(
    newSecret(() => new Uint8Array(16).fill(255)),
    (2n ** 128n - 1n).toString(36),
  );
  assert.is(newSecret(() => new Uint8Array(16).fill(255)).length, 25);
  assert.ok(sameSecret(token.secret, token.secret));
  assert.not.ok(sameSecret(token.secret, newSecret()));
  assert.not.ok(sameSecret(token.secret, ''));
});

test('the error of a wrong token says what is wrong, and shows no part of it', () => {
  const { digest, secret } = token;
  for (const [text, expected] of [
    ['', /is empty/],
    [`SWMTKN-1-${digest}-${secret}`, /one of Docker's swarm/],
    [`${digest}-${secret}`, /does not begin with WEFT-1-/],
    [`weft-1-${digest}-${secret}`, /does not begin with WEFT-1-/],
    [`WEFT-2-${digest}-${secret}`, /another version/],
    [`WEFT-1-${digest}`, /0 characters in its fourth part instead of 25/],
    [`WEFT-1-${digest}-${secret.slice(1)}`, /24 characters in its fourth part instead of 25/],
    [`WEFT-1-${digest.slice(3)}-${secret}`, /47 characters in its third part instead of 50/],
    [`WEFT-1-${digest}-${secret.slice(1)}X`, /a character in its fourth part that is neither/],
    [`WEFT-1-${digest}-${secret}-${secret}`, /more than four parts/],
  ] as const) {
    try {
      parseToken(text);
    } catch (error) {
      const { message } = error as Error;
      assert.match(message, expected);
      for (const part of [digest, secret])
        for (let at = 0; at + 5 <= part.length; at++) assert.not.ok(message.includes(part.slice(at, at + 5)), message);
      continue;
    }
    throw new Error(`${text} is accepted`);
  }
});

test.run();
