/** Whole packets: read layer by layer as far as they can be understood, shown as text, and built. */
export { build, type LayerToBuild } from './build.js';
export { dissect, MAX_LAYERS, type DissectOptions, type Dissection } from './dissect.js';
export { GPE_PORT, VXLAN_PORTS } from './next.js';
export type * from './layers.js';
export { protocolsOf } from './protocols.js';
export { hex, hexdump, tree } from './show.js';
export { summarize } from './summarize.js';
