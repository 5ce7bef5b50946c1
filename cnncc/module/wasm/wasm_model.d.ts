// @NAME@, compiled by cnncc to WebAssembly. Generated; do not edit.

@RANGE_TYPES@/** An input or output in NCHW order, the most images first; numbers of 16 bits are given as their bits. */
export interface Port {
  readonly name: string;
  readonly shape: readonly @EXTENT@[];
  readonly dtype: "float32" | "uint8" | "int8" | "int32" | "float16" | "bfloat16";
}

/** What was compiled. An input with `mean` or `std` is given as pixels of 0 to 255; the module applies them. */
export interface Info {
  readonly name: string;
  readonly inputs: readonly (Port & { readonly mean?: readonly number[]; readonly std?: readonly number[] })[];
  readonly outputs: readonly Port[];
  readonly weightBytes: number;
  readonly weightsSha256: string;
  /** The most images of a run. */
  readonly maxImages: number;
@RANGE_INFO@  readonly arenaBytes: number;
  readonly arenaAlign: number;
  readonly params: number;
  readonly macs: number;
  readonly target: string;
  readonly sourceSha256: string;
  readonly compiler: Readonly<Record<string, string>>;
}

export interface LoadOptions {
  /** Called as the weights arrive, with bytes. */
  onProgress?: (done: number, total: number) => void;
}

/** A network with its weights, ready to run. */
export class Model {
  private constructor();
  /** The weights, in the layout that the code reads. */
  readonly weights: Uint8Array;
  /** Bytes of linear memory the model takes: weights, arena, inputs and outputs. */
  readonly memoryBytes: number;
  /** Runs the network on 1 to `maxImages` images, one after the other in each array. A wrong number of arrays or of numbers is a RangeError, arrays of another type are a TypeError. */
  run(@SIZES@@INPUTS@): @OUTPUTS@;
  /** The same with arrays by the names of the inputs; those of the results are the names of the outputs. */
  run(@SIZES@inputs: @NAMED_INPUTS@): @NAMED_OUTPUTS@;
}

export const info: Info;

@RANGE_FUNCTIONS@/**
 * Fetches code and weights and makes a model of them, each time with memory of its own.
 * @param url folder of the two files; by default that of this module. A relative one counts from this module.
 */
export function load(url?: string | URL, options?: LoadOptions): Promise<Model>;
