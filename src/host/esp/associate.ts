import { Inbound, Outbound, type Aead, type AeadKey } from '../../esp/index.js';
import { type AssociationChange, type AssociationKey } from '../../keying/index.js';
import { ICV, type Remote, type Vtep, type VtepSink } from '../../vtep/index.js';

/** What a thread needs to change its associations. */
export interface AssociateParts {
  vtep: Vtep;
  aead: Aead;
  /** The number of the thread: of the keys to send by, it has the one with this index. */
  worker: number;
  /** Where the machine sends the frames that waited. */
  sink: VtepSink;
  /** Sends a dummy packet (RFC 4303, section 2.6), by which the receiver learns that the association is in use. */
  confirm(remote: Remote, outbound: Outbound): void;
}

/** Makes the changes of associations that the agreement on keys has brought about, in order. */
export function associate(parts: AssociateParts, changes: readonly AssociationChange[], now: number): void {
  const { vtep, aead, worker, sink, confirm } = parts;
  const { associations } = vtep;
  const keyOf = ({ key, salt }: AssociationKey): AeadKey => aead.key({ key, salt, icv: ICV, extended: true });
  for (const change of changes)
    switch (change.do) {
      case 'forget':
        for (const spi of change.spis) associations.removeInbound(spi);
        break;
      case 'accept':
        for (const key of change.keys)
          associations.addInbound(change.group, change.address, new Inbound(key.spi, ICV, keyOf(key)));
        break;
      case 'stop':
        associations.removeOutbound(change.group, change.address);
        break;
      case 'send': {
        const { group, address, keys } = change;
        const outbound = new Outbound(keys[worker]!.spi, ICV, keyOf(keys[worker]!));
        if (associations.setOutbound(group, address, outbound, now, sink)) confirm(vtep.remote(address)!, outbound);
      }
    }
}
