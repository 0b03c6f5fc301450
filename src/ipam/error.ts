/**
 * Which value a refusal is about. Several values of one kind are told apart by the message, which quotes the value.
 */
export type IpamField = 'pools' | 'maskLength' | 'subnet' | 'gateway' | 'ipRange' | 'aux' | 'ip' | 'mac' | 'vni';

/**
 * Why: `invalid`, it can never be; `conflict`, it overlaps with something else; `in-use`, somebody has it; `exhausted`,
 * nothing is left to give.
 */
export type IpamCode = 'invalid' | 'conflict' | 'in-use' | 'exhausted';

/** Something that cannot be given, or cannot be. The message says what, why, and what to do instead. */
export class IpamError extends RangeError {
  readonly code: IpamCode;
  readonly field: IpamField;

  constructor(code: IpamCode, field: IpamField, message: string) {
    super(message);
    this.name = 'IpamError';
    this.code = code;
    this.field = field;
  }
}
