/** The records that a node of a cluster keeps in files of its state directory. Further fields are those of a later version. */
import { Type, type TSchema } from '@sinclair/typebox';
import { DeviceName, Ip, Netns } from './formats.js';
import { type JsonSchema } from './types.js';

/** Of TypeBox's types, those that read them need only the schema. */
function schema(of: TSchema): JsonSchema {
  return of as unknown as JsonSchema;
}

const Id = Type.String({ minLength: 1, expected: 'an id' });
const Count = (expected: string): TSchema => Type.Integer({ minimum: 0, expected });

/** `place.json`: the addresses and the name of a node. */
export const PLACE_FILE = schema(
  Type.Object({
    address: Ip,
    dataPath: Type.Optional(Ip),
    name: Type.Optional(Type.String({ minLength: 1, expected: 'the name of a node' })),
  }),
);

/** A record of `attached.json`: where an endpoint is, in a namespace of others. */
export const ATTACHED_RECORD = schema(Type.Object({ netns: Netns, device: DeviceName }));

/** A record of `runs.json`: a sandbox that a request has made. */
export const RUN_RECORD = schema(
  Type.Object({
    network: Id,
    owner: Type.Optional(
      Type.Object({
        pid: Count('the number of a process'),
        start: Count('when the process started, in ticks after the boot'),
        boot: Type.String({ minLength: 1, expected: 'the id of a boot (/proc/sys/kernel/random/boot_id)' }),
      }),
    ),
    making: Type.Optional(Type.Boolean()),
  }),
);
