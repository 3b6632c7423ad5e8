/**
 * A profile in Chrome's trace format (JSON object form of the "Trace Event Format"; Perfetto and chrome://tracing read it): one
 * run of every step after the other, complete events (`ph` X) with times in microseconds, dispatches inside their step.
 */
import type { Profile } from './profile.ts';

export interface TraceEvent {
  readonly name: string;
  /** X: begins at `ts` and lasts `dur`; M: says what a process or thread is called. */
  readonly ph: 'X' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

export function traceOf(p: Profile, adapter: string): { readonly traceEvents: TraceEvent[]; readonly displayTimeUnit: 'ms'; readonly otherData: Readonly<Record<string, unknown>> } {
  const place = { pid: 1, tid: 1 }, events: TraceEvent[] = [
    { name: 'process_name', ph: 'M', ...place, args: { name: adapter } },
    { name: 'thread_name', ph: 'M', ...place, args: { name: 'GPU queue' } },
  ];
  let ts = 0;
  for (const e of p.entries) {
    events.push({ name: e.name, ph: 'X', ...place, cat: 'step', ts, dur: e.seconds * 1e6, args: { runs: e.times, 'milliseconds in one pass': e.together * 1e3 } });
    for (const d of e.dispatches) {
      const dur = d.seconds * 1e6;
      events.push({ name: d.label, ph: 'X', ...place, cat: d.family, ts, dur, args: { module: d.path, kernel: d.kernel, flops: d.flops, bytes: d.bytes, ...(d.seconds > 0 ? { 'FLOP/s': d.flops / d.seconds, 'B/s': d.bytes / d.seconds } : {}) } });
      ts += dur;
    }
  }
  return { traceEvents: events, displayTimeUnit: 'ms', otherData: { target: p.target, clock: p.exact ? 'device' : 'host', ...p.size } };
}
