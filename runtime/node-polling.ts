/**
 * While a WebGPU promise is open, Dawn's Node binding (npm `webgpu`) polls from `setImmediate` without pause, which holds
 * one core. A software adapter computes on those cores: on two of them, long kernels take half as long again. This spaces
 * the polls out once a wait has lasted `EAGER_MS`. Short waits keep their latency, long ones end at most some
 * `PAUSE_MS` later.
 */

/** Polls follow each other without pause for so long. */
const EAGER_MS = 2;
/** Pause between polls after that, the shortest that Node's timers know. */
const PAUSE_MS = 1;

let installed = false;

/** True for the functions that the binding hands to `setImmediate`: native, without name or parameters. */
function isPoll(callback: unknown, args: readonly unknown[]): callback is () => void {
  return typeof callback === 'function' && callback.name === '' && callback.length === 0 && args.length === 0 && Function.prototype.toString.call(callback).includes('[native code]');
}

/**
 * Wraps `globalThis.setImmediate`, which the binding looks up at each poll. Every callback but the binding's passes
 * through untouched, and so do the first polls of each wait. Installing it twice does nothing.
 */
export function spacePolls(): void {
  if (installed) return;
  installed = true;
  const immediate = globalThis.setImmediate;
  /** While one of the binding's polls runs: when its wait began. A poll that is scheduled from inside continues the wait. */
  let since: number | undefined;

  const wrapped = (callback: (...args: unknown[]) => void, ...args: unknown[]): NodeJS.Immediate | NodeJS.Timeout => {
    if (!isPoll(callback, args)) return immediate(callback, ...args);
    const began = since ?? performance.now();
    const poll = (): void => {
      since = began;
      try {
        callback();
      } finally {
        since = undefined;
      }
    };
    return performance.now() - began < EAGER_MS ? immediate(poll) : setTimeout(poll, PAUSE_MS);
  };
  // `util.promisify(setImmediate)` reads a symbol off the function.
  globalThis.setImmediate = Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(immediate)) as unknown as typeof setImmediate;
}
