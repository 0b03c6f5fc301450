/** The checksums of `offload` in WebAssembly SIMD, or in JavaScript if the processor has no such instructions. */
import { jsBulk, jsCopySum, jsSum, SIMD_MODULE, type Bulk, type CopySum, type Sum } from '../offload/index.js';

/** The part of `WebAssembly` used here, which Node's types omit. */
interface WasmApi {
  validate(bytes: Uint8Array): boolean;
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
}

const wasm = (globalThis as unknown as { WebAssembly?: WasmApi }).WebAssembly;
const code = Buffer.from(SIMD_MODULE, 'base64');

export interface Sums extends Bulk {
  readonly sum: Sum;
  readonly copySum: CopySum;
  /** Whether the sums run in WebAssembly. */
  readonly simd: boolean;
}

/**
 * Returns checksum functions over a `WebAssembly.Memory`; offsets refer to its buffer.
 * @param memory Must not grow if there is no SIMD.
 */
export function sums(memory: { readonly buffer: ArrayBufferLike }): Sums {
  if (wasm?.validate(code) === true) {
    const { exports } = new wasm.Instance(new wasm.Module(code), { env: { memory } });
    return { ...(exports as Bulk & { sum: Sum; copySum: CopySum }), simd: true };
  }
  const bytes = new Uint8Array(memory.buffer);
  const sum = jsSum(bytes);
  const copySum = jsCopySum(bytes);
  return { sum, copySum, ...jsBulk(bytes, copySum), simd: false };
}
