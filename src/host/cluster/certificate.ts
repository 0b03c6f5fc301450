/**
 * What a certificate of the cluster says. Its subject has the id of the cluster (O), the role (OU) and the id of the node
 * (CN). Reading one needs no library.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { type Role } from '../../cluster/index.js';
import { HostError } from '../error.js';

export type { Role };

/** An id of a node or a cluster. */
export const ID = /^[0-9a-z]{1,64}$/;

/** What a node certificate says. Times are milliseconds since 1970. */
export interface CertificateFacts {
  readonly node: string;
  readonly role: Role;
  readonly cluster: string;
  /** SHA-256 of the certificate in DER: 64 hexadecimal digits. */
  readonly fingerprint: string;
  readonly from: number;
  readonly until: number;
}

/** The common name of a CA. */
export const CA_NAME = 'weft cluster CA';

export function fingerprintOf(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}

/** Reads a node certificate. @returns `null` if it is none. */
export function certificateFacts(certificate: X509Certificate): CertificateFacts | null {
  const { O: cluster, OU: role, CN: node } = subjectOf(certificate);
  // A subject with two values of a kind has lists.
  if (typeof cluster !== 'string' || !ID.test(cluster) || typeof node !== 'string' || !ID.test(node)) return null;
  if (role !== 'manager' && role !== 'worker') return null;
  return { node, role, cluster, fingerprint: fingerprintOf(certificate.raw), ...validity(certificate) };
}

/** The id of the cluster whose CA this certificate is. @returns `null` if it is no cluster's CA. */
export function clusterOf(certificate: X509Certificate): string | null {
  const { O: cluster, CN: name } = subjectOf(certificate);
  if (!certificate.ca || name !== CA_NAME || typeof cluster !== 'string' || !ID.test(cluster)) return null;
  try {
    return certificate.verify(certificate.publicKey) ? cluster : null;
  } catch {
    return null; // a key of a kind that OpenSSL does not know
  }
}

function subjectOf(certificate: X509Certificate): Record<string, unknown> {
  return { ...(certificate.toLegacyObject().subject as object | undefined) };
}

export function validity({ validFrom, validTo }: X509Certificate): { from: number; until: number } {
  return { from: Date.parse(validFrom), until: Date.parse(validTo) };
}

/** A node's private key and certificate, and the certificate of its cluster's CA, in PEM. */
export interface Identity extends CertificateFacts {
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

/**
 * Puts a key, its certificate and the CA's certificate together.
 * @throws HostError if they do not belong together.
 */
export function identityOf(key: string, certificate: string, ca: string): Identity {
  let node: X509Certificate;
  let authority: X509Certificate;
  let isOurs: boolean;
  try {
    node = new X509Certificate(certificate);
    authority = new X509Certificate(ca);
    isOurs = node.checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    // Without the text of the error, which may quote what is a key.
    throw new HostError('a key or a certificate cannot be read', { cause: error });
  }
  const facts = certificateFacts(node);
  if (facts === null) throw new HostError('the certificate is not one of a node');
  if (!isOurs) throw new HostError('the certificate is not one of the key');
  if (clusterOf(authority) !== facts.cluster || !node.checkIssued(authority) || !node.verify(authority.publicKey))
    throw new HostError("the certificate was not issued by the cluster's CA");
  return { ...facts, key, certificate, ca };
}

/**
 * When to renew a certificate: a random point between 50 % and 80 % of its lifetime, so that the nodes of a cluster that
 * was created at once do not all ask at once.
 * @param random From 0 to 1.
 */
export function renewalTime({ from, until }: Pick<CertificateFacts, 'from' | 'until'>, random: number): number {
  return from + (until - from) * (0.5 + 0.3 * random);
}
