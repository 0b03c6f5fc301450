/** Agreement on the keys of associations between two hosts that share the keys of a group. */
export { MAX_GROUP_KEYS } from './limits.js';
