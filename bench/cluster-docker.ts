/** The first reply between hosts of a Docker swarm, beside that of a cluster: see cluster.ts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DOCKER, DockerEngine, type DockerContainer } from '../test/support/docker.js';
import { createUnderlay, waitFor, type Underlay } from '../test/support/lab.js';

/** Milliseconds of the steps to the first reply. */
export interface Steps {
  create: number;
  run: number;
  reply: number;
}

/**
 * Two Docker engines in namespaces of this machine, by their API. Each round creates a network and a container on each of
 * them, and removes all again.
 * @returns why there are none, if Docker is missing or cannot run here.
 */
export async function dockerReplies(rounds: number): Promise<Steps[] | string> {
  if (DOCKER === undefined) return 'DOCKER_LAB does not name a directory with Docker';
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const underlay = await createUnderlay({ prefix: 'bcd' });
  const engines: DockerEngine[] = [];
  try {
    for (const [i, { ns }] of [underlay.node1, underlay.node2].entries()) {
      const engine = await DockerEngine.start(underlay.lab, ns, join(folder, `engine${i}`));
      if ('refused' in engine) return engine.refused;
      engines.push(engine);
      await engine.makeImage();
    }
    const [one, two] = engines as [DockerEngine, DockerEngine];
    const { token } = await one.makeSwarm(underlay.node1.address);
    await two.joinSwarm(underlay.node2.address, underlay.node1.address, token);
    const found: Steps[] = [];
    for (let round = 0; round < rounds; round++) found.push(await reply(one, two, underlay.lab, `net${round}`));
    return found;
  } finally {
    for (const engine of engines.reverse()) await engine.stop();
    await underlay.lab.teardown();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function reply(one: DockerEngine, two: DockerEngine, lab: Underlay['lab'], network: string): Promise<Steps> {
  const began = performance.now();
  await one.createNetwork(network);
  const created = performance.now();
  const containers: [DockerEngine, DockerContainer][] = [];
  for (const engine of [one, two])
    containers.push([engine, await engine.start(`on-${network}-${containers.length}`, network)]);
  const ran = performance.now();
  const [[, from], [, to]] = containers as [(typeof containers)[0], (typeof containers)[0]];
  const ping = lab.spawn(['nsenter', `--net=/proc/${from.pid}/ns/net`, 'ping', '-n', '-i', '0.01', to.ip]);
  await waitFor('the first reply', () => /bytes from/.test(ping.stdout));
  const end = performance.now();
  await ping.stop('SIGKILL');
  for (const [engine, container] of containers) await engine.remove(container);
  await one.removeNetwork(network);
  return { create: created - began, run: ran - created, reply: end - ran };
}
