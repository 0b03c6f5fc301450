/**
 * The CA of a cluster, and the certificates that it issues: ECDSA with P-256 and SHA-256. Also the keys and requests of
 * nodes, because the same library makes them.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  webcrypto,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { HostError } from '../error.js';
import { CA_NAME, certificateFacts, clusterOf, ID, validity, type CertificateFacts, type Role } from './certificate.js';
import { ClusterError } from './error.js';

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 86_400_000;
const CA_LIFETIME = 20 * 365.25 * DAY;
/** Three months. */
export const NODE_LIFETIME = 90 * DAY;
/** A certificate is valid this long before it is made, for nodes whose clocks are slow. */
const SKEW = 3_600_000;
const CSR =
  /^-----BEGIN CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]{1,4096})-----END CERTIFICATE REQUEST-----\s*$/;
/** Length of an id, like Docker's. */
const ID_LENGTH = 25;

type Library = typeof import('./x509.js');
type CryptoKey = webcrypto.CryptoKey;

const library = (): Promise<Library> => import('./x509.js');

/** Makes a private key. @returns it in PEM (PKCS #8). */
export async function newKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  return pemOf(privateKey);
}

/** A request for a certificate of a key, in PEM (PKCS #10). Its subject is empty: the manager decides about it. */
export async function certificateRequest(key: string): Promise<string> {
  const { Pkcs10CertificateRequestGenerator } = await library();
  const keys = { privateKey: await signingKey(key), publicKey: await verifyingKey(key) };
  return (await Pkcs10CertificateRequestGenerator.create({ name: [], keys, signingAlgorithm: ECDSA })).toString('pem');
}

/**
 * The id of a node that joins with this key. A node that repeats a request, because the answer was lost, thereby becomes
 * no second node.
 */
export function nodeIdOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' });
  const digest = BigInt(`0x${createHash('sha256').update(der).digest('hex')}`);
  return digest.toString(36).padStart(ID_LENGTH, '0').slice(-ID_LENGTH);
}

/**
 * Checks a request for a certificate.
 * @returns the public key. Its subject and attributes are ignored.
 * @throws ClusterError
 */
export async function requestedKey(csr: string): Promise<KeyObject> {
  const der = CSR.exec(csr)?.[1];
  if (der === undefined) throw badRequest('expected a certificate request in PEM');
  const { Pkcs10CertificateRequest } = await library();
  let key: KeyObject;
  let isSigned: boolean;
  try {
    const request = new Pkcs10CertificateRequest(Buffer.from(der, 'base64'));
    key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw badRequest('expected an ECDSA key of curve P-256');
    isSigned = await request.verify();
  } catch (error) {
    if (error instanceof ClusterError) throw error;
    throw badRequest('it cannot be read', error);
  }
  if (!isSigned) throw badRequest('its signature is not one of its key');
  return key;
}

function badRequest(message: string, cause?: unknown): ClusterError {
  return new ClusterError('invalid', `csr: ${message}`, { cause, fields: ['csr'] });
}

/** A certificate that was issued. */
export interface Issued extends CertificateFacts {
  /** In PEM. */
  readonly certificate: string;
}

export interface Subject {
  readonly node: string;
  readonly role: Role;
  /** Milliseconds for which it is valid. */
  readonly lifetime?: number;
}

/** The CA of a cluster. Its key stays in this object, and in the store of the managers. */
export class Authority {
  readonly cluster: string;
  /** In PEM. */
  readonly certificate: string;
  readonly #x509: X509Certificate;
  readonly #key: CryptoKey;
  readonly #now: () => number;

  private constructor(x509: X509Certificate, cluster: string, key: CryptoKey, now: () => number) {
    this.#x509 = x509;
    this.certificate = x509.toString();
    this.cluster = cluster;
    this.#key = key;
    this.#now = now;
  }

  /**
   * Makes the CA of a new cluster.
   * @param cluster The id of the cluster.
   * @returns its certificate and its private key in PEM, for `open`.
   */
  static async create(cluster: string, now = Date.now): Promise<{ certificate: string; key: string }> {
    if (!ID.test(cluster)) throw new RangeError(`the id of a cluster has letters and digits, not ${cluster}`);
    const x509 = await library();
    const key = await newKey();
    const publicKey = await verifyingKey(key);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: [{ O: [cluster] }, { CN: [CA_NAME] }],
      keys: { privateKey: await signingKey(key), publicKey },
      notBefore: new Date(now() - SKEW),
      notAfter: new Date(now() + CA_LIFETIME),
      signingAlgorithm: ECDSA,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ],
    });
    return { certificate: `${certificate.toString('pem')}\n`, key };
  }

  /** @throws HostError if the certificate is none of a CA, or not one of the key. */
  static async open({ certificate, key }: { certificate: string; key: string }, now = Date.now): Promise<Authority> {
    let x509: X509Certificate;
    let isOurs: boolean;
    try {
      x509 = new X509Certificate(certificate);
      isOurs = x509.checkPrivateKey(createPrivateKey(key));
    } catch (error) {
      throw new HostError('the key or the certificate of the CA cannot be read', { cause: error });
    }
    const cluster = clusterOf(x509);
    if (cluster === null) throw new HostError('the certificate of the CA is not one of a CA of weft');
    if (!isOurs) throw new HostError('the certificate of the CA is not one of its key');
    return new Authority(x509, cluster, await signingKey(key), now);
  }

  /**
   * Issues a certificate to the key of a request.
   * @throws ClusterError if the request is wrong.
   */
  async sign(csr: string, subject: Subject): Promise<Issued> {
    return this.issue(await requestedKey(csr), subject);
  }

  /** Issues a certificate to a public key. */
  async issue(publicKey: KeyObject, { node, role, lifetime = NODE_LIFETIME }: Subject): Promise<Issued> {
    if (!ID.test(node)) throw new RangeError(`the id of a node has letters and digits, not ${node}`);
    const x509 = await library();
    const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
    const key = await importPublic(publicKey);
    const now = this.#now();
    const pem = await x509.X509CertificateGenerator.create({
      subject: [{ O: [this.cluster] }, { OU: [role] }, { CN: [node] }],
      issuer: [{ O: [this.cluster] }, { CN: [CA_NAME] }],
      publicKey: key,
      signingKey: this.#key,
      signingAlgorithm: ECDSA,
      notBefore: new Date(now - SKEW),
      notAfter: new Date(Math.min(now + lifetime, validity(this.#x509).until)),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // A worker serves nothing: no TLS library takes its certificate for a manager's.
        new x509.ExtendedKeyUsageExtension(role === 'manager' ? [serverAuth, clientAuth] : [clientAuth]),
        await x509.SubjectKeyIdentifierExtension.create(key),
        await x509.AuthorityKeyIdentifierExtension.create(await importPublic(this.#x509.publicKey)),
      ],
    });
    const certificate = `${pem.toString('pem')}\n`;
    return { ...certificateFacts(new X509Certificate(certificate))!, certificate };
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

function signingKey(pem: string): Promise<CryptoKey> {
  const der = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', der, ECDSA, false, ['sign']);
}

function verifyingKey(pem: string): Promise<CryptoKey> {
  return importPublic(createPublicKey(pem));
}

function importPublic(key: KeyObject): Promise<CryptoKey> {
  return webcrypto.subtle.importKey('spki', key.export({ type: 'spki', format: 'der' }), ECDSA, true, ['verify']);
}
