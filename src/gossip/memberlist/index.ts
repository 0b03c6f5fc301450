/** memberlist's protocol, SWIM with Lifeguard, as Docker's networks and Serf speak it. */
export { LAN, LOCAL, WAN, type Timing } from './config.js';
export { expectedConfirmations, pushPullScale, retransmitLimit, suspicionTimeout, suspicionTimes } from './formula.js';
