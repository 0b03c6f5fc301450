/** Whole packets: dissected layer by layer, printed as text, and built. */
export { build, type LayerToBuild } from './build.js';
export { dissect, MAX_LAYERS, type DissectOptions, type Dissection } from './dissect.js';
export { GPE_PORT, VXLAN_PORTS } from './next.js';
export type * from './layers.js';
export { protocolsOf } from './protocols.js';
export { hex, hexdump, tree } from './show.js';
export { summarize } from './summarize.js';
