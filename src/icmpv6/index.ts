/** ICMPv6, RFC 4443, with the messages and options of neighbor discovery, RFC 4861. */
export * from './message.js';
export * from './options.js';
export { verifyDiscovery } from './discovery.js';
export { extensions, quoted, type Quoted } from './quoted.js';
