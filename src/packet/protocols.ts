import { NEXT_FRAGMENT } from '../ipv6/index.js';
import type { Layer } from './layers.js';
import { etherTypeKeyword, ipProtocolName } from './names.js';

/**
 * The protocols of a packet, outermost first: the names of its layers, and for what weft does not read, the name that the
 * header before it gives: `igmp`, `gre`, `icmpv6`, `lldp`. `fragment` is what a later IP fragment carries, `payload` what
 * has no name. Trailers are left out.
 */
export function protocolsOf(layers: readonly Layer[]): string[] {
  const names: string[] = [];
  for (let i = 0; i < layers.length; i++) {
    const layer = layers[i]!;
    const before = layers[i - 1];
    if (layer.protocol === 'payload') names.push((before && carriedName(before)) ?? 'payload');
    else if (layer.protocol !== 'trailer') names.push(layer.protocol);
  }
  return names;
}

function carriedName(layer: Layer): string | undefined {
  switch (layer.protocol) {
    case 'ethernet':
    case 'vlan':
    case 'sll':
    case 'sll2':
      return layer.etherType === undefined ? undefined : etherTypeKeyword(layer.etherType);
    case 'ipv4':
      return layer.fragmentOffset > 0 ? 'fragment' : ipProtocolName(layer.protocolNumber);
    case 'ipv6': {
      const upper = layer.upperProtocol ?? layer.nextHeader;
      return upper === NEXT_FRAGMENT ? 'fragment' : ipProtocolName(upper);
    }
    default:
      return undefined;
  }
}
