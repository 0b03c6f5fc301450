/** Docker's NetworkDB: tables that all nodes attached to a network share, over a membership layer. */
export * from './messages.js';
export { type Extensible, type MessageCodec } from './protobuf.js';
export * from './records.js';
