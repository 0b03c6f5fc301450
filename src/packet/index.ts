/** Whole packets: read layer by layer as far as they can be understood, shown as text, and built. */
export { build, type LayerToBuild } from './build.js';
export { dissect, GPE_PORT, MAX_LAYERS, VXLAN_PORTS, type DissectOptions, type Dissection } from './dissect.js';
export type * from './layers.js';
export { hex, hexdump, tree } from './show.js';
export { summarize } from './summarize.js';
