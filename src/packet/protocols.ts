import { NEXT_FRAGMENT } from '../ipv6/index.js';
import type { Layer } from './layers.js';
import { etherTypeKeyword, ipProtocolName } from './names.js';

/**
 * The protocols of a packet, outermost first: the names of its layers. For a protocol that weft does not decode, it is
 * the name that the header before it indicates: `igmp`, `gre`, `lldp`. `fragment` is the content of a later
 * IP fragment, `payload` anything without a name. Trailers are omitted.
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
