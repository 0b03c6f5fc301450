/** Whole packets: dissects them layer by layer, prints them as text, and builds them. */
export { build, type LayerToBuild } from './build.js';
export { dissect, MAX_LAYERS, type DissectOptions, type Dissection } from './dissect.js';
export { GPE_PORT, VXLAN_PORTS } from './next.js';
export type * from './layers.js';
export { problemText } from './problem.js';
export { protocolsOf } from './protocols.js';
export { hex, hexdump, tree } from './show.js';
export { summarize } from './summarize.js';
