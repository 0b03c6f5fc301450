/** What a worker does with the news of another one, and what it reports about paths. */
import { innerMtu, type Remote, type Vtep, type VtepSink } from '../../vtep/index.js';
import { type ErrorParts, type ErrorReports } from './error-reports.js';
import { type FromLoop, type News } from './protocol.js';

interface Parts {
  readonly vtep: Vtep;
  readonly reports: ErrorReports;
  readonly sink: VtepSink;
}

/** Tells the other workers of ICMP errors. */
export function tellers(post: (news: News) => void): Pick<ErrorParts, 'tell' | 'tellRefused'> {
  return {
    tell: (address, claim) => post({ type: 'path', address, claim }),
    tellRefused: (address, quote, mtu) => post({ type: 'probe-refused', address, quote, mtu }),
  };
}

export function takeNews(news: News, { vtep, reports, sink }: Parts, now: number): void {
  switch (news.type) {
    case 'learned':
      for (const what of news.what) {
        if ('ip' in what) vtep.adoptAnswer(what, now, sink);
        else vtep.adopt(what, now);
      }
      return;
    case 'path':
      return reports.narrow(news.address, news.claim);
    case 'probe-answer':
      return void vtep.paths.adopt(news.answer, now);
    case 'probe-refused':
      return reports.probeRefused(news.address, news.quote, news.mtu);
  }
}

/** The report that the MTU of the path to a remote has become smaller. */
export function narrowed(remote: Remote): FromLoop {
  return { type: 'report', report: { type: 'narrowed', address: remote.address, mtu: innerMtu(remote) } };
}

/** Reports what probes have found out, and asks for the routes that may have changed. */
export function reportPaths({ paths }: Vtep, post: (message: FromLoop) => void): void {
  for (const remote of paths.takeNarrowed()) post(narrowed(remote));
  const addresses = paths.takeRoutesToLook();
  if (addresses.length > 0) post({ type: 'look-up', addresses });
}
