/** Reports of a node reach a manager, also if it does not answer at first. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ClusterError } from '../src/host/cluster/error.js';
import { Reports, type Report } from '../src/host/cluster/reports.js';
import { waitFor } from './support/lab.js';

const keys = (tag: number): Report => ({ do: 'report-keys', tag });

test('a report that gets no answer is sent again; a newer one about the same replaces it', async () => {
  const sent: number[] = [];
  const taken: number[] = [];
  let answers = false;
  const reports = new Reports((report) => {
    const { tag } = report as { tag: number };
    sent.push(tag);
    if (!answers) return Promise.reject(new ClusterError('lost', 'no answer'));
    taken.push(tag);
    return Promise.resolve({});
  });
  reports.add('keys', keys(1));
  await waitFor('the first attempt', () => sent.length === 1);
  reports.add('keys', keys(2));
  answers = true;
  await waitFor('the second report', () => taken.length === 1);
  reports.send();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(taken, [2]);
  answers = false;
  reports.add('keys', keys(3));
  await waitFor('an attempt without an answer', () => sent.includes(3));
  answers = true;
  await waitFor('the next attempt, by itself', () => taken.includes(3));
  reports.close();
});

test('a report that a manager refuses is not sent again, and does not hold up others', async () => {
  const sent: number[] = [];
  const reports = new Reports((report) => {
    const { tag } = report as { tag: number };
    sent.push(tag);
    return tag === 1 ? Promise.reject(new ClusterError('invalid', 'no such key')) : Promise.resolve({});
  });
  reports.add('a', keys(1));
  reports.add('b', keys(2));
  await waitFor('both', () => sent.length === 2);
  reports.send();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(sent, [1, 2]);
  reports.close();
  reports.add('c', keys(3));
  assert.equal(sent, [1, 2], 'nothing after the end');
});

test.run();
