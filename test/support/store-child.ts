/** Commits transactions to the store of a directory, prints each revision, and kills itself at a call of the file system. */
import { writeSync } from 'node:fs';
import { FileStore } from '../../src/host/store/file-store.js';
import { NODE_FILES, type StoreFile, type StoreFiles } from '../../src/host/store/files.js';
import { lockDirectory } from '../../src/host/store/lock.js';
import { Random } from '../../src/sim/index.js';
import { randomTransaction, StoreModel } from './store-model.js';

const [directory = '', killAt] = process.argv.slice(2);
let calls = 0;

/** Makes a call, or half of it if the process ends here. */
async function call<T>(whole: () => Promise<T>, half: () => Promise<unknown> = async () => {}): Promise<T> {
  calls += 1;
  if (calls !== Number(killAt)) return whole();
  await half();
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

const files: StoreFiles = {
  ...NODE_FILES,
  open: (path) => call(() => NODE_FILES.open(path).then(wrap)),
  rename: (from, to) => call(() => NODE_FILES.rename(from, to)),
  remove: (path) => call(() => NODE_FILES.remove(path)),
  syncDirectory: (path) => call(() => NODE_FILES.syncDirectory(path)),
};

function wrap(file: StoreFile): StoreFile {
  return {
    write: (bytes, at) =>
      call(
        () => file.write(bytes, at),
        () => file.write(bytes.subarray(0, bytes.length >> 1), at),
      ),
    truncate: (length) => call(() => file.truncate(length)),
    sync: () => call(() => file.sync()),
    close: () => file.close(),
  };
}

writeSync(1, '0\n');
const store = await FileStore.open({ directory, compactAt: 500 }, { files, lock: lockDirectory });
const model = new StoreModel();
const random = new Random(7);
while (model.revision < 10) {
  const transaction = randomTransaction((end) => random.integer(end), model.items);
  model.commit(transaction);
  const answer = await store.commit(transaction);
  if ('revision' in answer) writeSync(1, `${answer.revision}\n`);
}
await store.close();
