/** Names of network devices. */

/** Whether the kernel accepts a device's name: 1 to 15 bytes, no `/`, `:`, white space or control character; `.`, `..` and a `%` template are not names. */
export function isDeviceName(text: string): boolean {
  if (/[\s/:%\u0000-\u001f\u007f]/.test(text) || text === '.' || text === '..') return false;
  const length = new TextEncoder().encode(text).length;
  return length >= 1 && length <= 15;
}
