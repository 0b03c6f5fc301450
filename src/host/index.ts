/** A VTEP on a Linux host: TAPs, the underlay's sockets, namespaces, the control socket. */
export { aesGcm } from './aead.js';
export { UNDERLAY, type Captured, type UdpEnd } from './capture.js';
export { ask, serveControl, type Control } from './control.js';
export { createEngine, type Engine, type EngineCounters, type EngineEvents, type EngineFacts } from './engine.js';
export { codeOf, HostError } from './error.js';
export { GossipHost, type GossipOptions } from './gossip.js';
export { ip, ipJson, requireNetns } from './ip.js';
export { segmentMtus, tapMtu, type SegmentMtu } from './mtu.js';
export { applyMtus, Overlay, type AllCounters, type OverlayEvents } from './overlay.js';
export { sums, type Sums } from './simd.js';
export { TapChannel, type TapEvents } from './tap.js';
export { IFF_VNET_HDR, inspectTap, openTap, type OpenTap } from './tun.js';
export { overhead, pathTo, requireLocal, type Path } from './underlay.js';
