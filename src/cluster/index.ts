/** What the managers of a cluster know and decide. Pure: no I/O, no clock, no randomness of its own. */
export {
  type Committed,
  type Condition,
  type Item,
  type Lease,
  type Store,
  type StoreChange,
  type Transaction,
  type Watcher,
  type Write,
} from './store.js';
