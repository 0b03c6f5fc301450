/** MAC, IPv4 and IPv6 addresses and IPv4 prefixes, as text and as numbers. */
export * from './mac.js';
export * from './derived-mac.js';
export * from './ipv4.js';
export * from './ipv6.js';
export * from './ip.js';
export * from './prefix.js';
export * from './pseudo.js';
