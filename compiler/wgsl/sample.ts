/**
 * Draws the next token from a row of logits: temperature, top-k, top-p, as `Sampler` in runtime/sampling.ts does it, in f32.
 * Runs after `argmax`, whose result (the likeliest token) it reads and replaces; where that is negative, no token can be
 * chosen, and it stays.
 *
 * `draw` holds temperature, top-k (0: all), top-p (1: all) and a random number in [0, 1) from the host. Without filters the
 * token is where the running sum of weights, by id, passes the drawn share. With filters tokens stand most probable first,
 * ties by id. Nothing is sorted: a token's place is found digit by digit of its logit's bits (a radix search), each
 * digit by one sum over what is left for each of its values. Sums are made in a fixed order, so equal inputs draw equal tokens.
 *
 * Tile: one workgroup; each invocation keeps a list of the logits that are still candidates among every 256th.
 */
import type { Kernel, View } from './kernel.ts';
import { orderOf, orders, rowInvocations } from './argmax.ts';
import type { KernelOptions } from './printer.ts';
import { Memory, range } from './printer.ts';

export interface SampleSpec {
  /** One row of logits. */
  readonly row: View;
  readonly width: number;
  /** i32: the likeliest token before, the drawn one after. */
  readonly next: View;
  /** Binding of the four numbers, f32. */
  readonly draw: string;
  /** f32 memory of `keptWidth(width)` elements. */
  readonly kept: View;
}

/** Elements that the lists of candidates take. */
export const keptWidth = (width: number): number => Math.ceil(width / rowInvocations(width)) * rowInvocations(width);

export function sampleKernel({ row, width, next, draw, kept }: SampleSpec, options: KernelOptions): Kernel {
  if (next.storage !== 'i32') throw new RangeError(`The token that is drawn is i32, not ${next.storage}.`);
  const W = rowInvocations(width), memory = new Memory(options), order = orderOf(memory);
  const x = memory.view('x', row, 1), to = memory.view('next', next, 1, { width: 1 }), asked = memory.vector('draw', draw, 'f32', 4, 4), list = memory.view('kept', kept, 1, { width: keptWidth(width) });
  const at = to.element('0u', '0u'), logit = (i: string): string => x.load(x.element('0u', i), 1), slot = (j: string): string => list.element('0u', `${j} * ${W}u + t`);
  const chunk = Math.ceil(width / W), counters = range(8).map((d) => `sums[${d}]`);
  const body = `  let asked = ${asked.load('0u', 4)};
  let likeliest = ${to.load(at, 1)};
  temperature = asked.x;
  top = ${logit('u32(max(likeliest, 0))')};
  // Below 1 in f32 too, or the draw could pass the last token.
  let random = min(asked.w, 0.99999994);
  let filtered = asked.y > 0.0 || asked.z < 1.0;
  // No temperature is below 0: bounds that a driver's compiler cannot see, or Mesa unrolls the search whole, which takes it seconds.
  let never = u32(asked.x < 0.0);
  var key = 0u;
  var goal = random;
  if (filtered) {
    for (var i = t; i < ${width}u; i += ${W}u) {
      let v = ${logit('i')};
      if (weight(v) > 0.0) {
        ${list.store(slot('held'), 'v', 1).join(' ')}
        held++;
      }
    }
    var mass = 0.0;
    var summed = false;
    var tied = 0.0;
    // The likeliest so many; of these the fewest with so much of the mass; of these the one that is drawn.
    for (var stage = 0u; stage < 3u + never; stage++) {
      if ((stage == 0u && asked.y == 0.0) || (stage == 1u && asked.z >= 1.0)) { continue; }
      goal = asked.y;
      if (stage > 0u) {
        if (!summed) {
          mass = mass_before(t, ${W / 2 | 0}u + never, limit);
          if (tied > 0.0) { mass += tied * weight(logit_of(limit)); }
          summed = true;
        }
        goal = select(asked.z, random, stage == 2u) * mass;
      }
      search(t, ${W / 2 | 0}u + never, 11u + never, goal, stage == 0u, stage == 2u);
      key = found_key;
      let w = weight(logit_of(key));
      if (stage == 0u) { tied = min(asked.y - before, ties); }
      if (stage == 1u) { mass = before + min(max(ceil((goal - before) / w), 1.0) * w, max(ties, w)); }
      if (stage < 2u) { limit = key; }
      goal = (goal - before) / w;
    }
  }

  // By id: where the running sum of weights passes the drawn share, or among equal logits the one so many from the first on.
  var sum = 0.0;
  for (var i = t * ${chunk}u; i < min((t + 1u) * ${chunk}u, ${width}u); i++) { sum += share(${logit('i')}, filtered, key); }
  each[t] = sum;
  workgroupBarrier();
  if (t == 0u && likeliest >= 0) {
    var left = goal;
    if (!filtered) {
      var total = 0.0;
      for (var s = 0u; s < ${W}u + never; s++) { total += each[s]; }
      left = random * total;
    }
    var owner = 0u;
    var found = false;
    for (var s = 0u; s < ${W}u + never && !found; s++) {
      if (each[s] > 0.0) {
        owner = s;
        found = left < each[s];
        if (!found) { left -= each[s]; }
      }
    }
    // The sums' rounding may leave a crumb: then it is the last token that has a share.
    var drawn = likeliest;
    for (var i = owner * ${chunk}u; i < min((owner + 1u) * ${chunk}u, ${width}u); i++) {
      let w = share(${logit('i')}, filtered, key);
      if (w > 0.0) {
        drawn = i32(i);
        if (found && left < w) { break; }
        left -= w;
      }
    }
    ${to.storeInteger(at, 'drawn')}
  }
`;
  const functions = `var<private> temperature: f32;
var<private> top: f32;
/** Logits that this invocation still considers. */
var<private> held: u32 = 0u;
/** Keys beyond it are out. */
var<private> limit: u32 = 0xffffffffu;
/** What \`search\` found: a key, the sum before it, and the sum of those that have it. */
var<private> found_key: u32;
var<private> before: f32;
var<private> ties: f32;
var<workgroup> low: array<vec4<f32>, ${W}>;
var<workgroup> high: array<vec4<f32>, ${W}>;
var<workgroup> each: array<f32, ${W}>;
fn weight(v: f32) -> f32 {
  if (${order}(v) <= ${orders.lowest}) { return 0.0; }
  return exp((v - top) / temperature);
}
// Smaller for the more probable.
fn key_of(v: f32) -> u32 { return ~${order}(v); }
fn logit_of(key: u32) -> f32 {
  let o = ~key;
  return bitcast<f32>(select(~o, o & 0x7fffffffu, (o >> 31u) == 1u));
}
fn share(v: f32, filtered: bool, key: u32) -> f32 {
  if (filtered) { return select(0.0, 1.0, key_of(v) == key); }
  return weight(v);
}
fn add_up(t: u32, half: u32) {
  workgroupBarrier();
  for (var h = half; h > 0u; h >>= 1u) {
    if (t < h) {
      low[t] += low[t + h];
      high[t] += high[t + h];
    }
    workgroupBarrier();
  }
}
fn mass_before(t: u32, half: u32, key: u32) -> f32 {
  var sum = 0.0;
  for (var j = 0u; j < held; j++) {
    let v = ${list.load(slot('j'), 1)};
    if (key_of(v) < key) { sum += weight(v); }
  }
  low[t] = vec4<f32>(sum, 0.0, 0.0, 0.0);
  add_up(t, half);
  let all = low[0].x;
  workgroupBarrier();
  return all;
}
// The key at which the sum over candidates, most probable first, reaches the goal (\`past\`: goes beyond it).
fn search(t: u32, half: u32, digits: u32, goal: f32, counting: bool, past: bool) {
  var first = 0u;
  var last = 0xffffffffu;
  before = 0.0;
  for (var left = digits; left > 0u; left--) {
    let shift = 3u * (left - 1u);
    var a = vec4<f32>(0.0);
    var b = vec4<f32>(0.0);
    var n = 0u;
    for (var j = 0u; j < held; j++) {
      let v = ${list.load(slot('j'), 1)};
      let key = key_of(v);
      if (key > limit) { continue; }
      ${list.store(slot('n'), 'v', 1).join(' ')}
      n++;
      if (key < first || key > last) { continue; }
      let w = select(weight(v), 1.0, counting);
      let digit = vec4<u32>((key - first) >> shift);
      a += select(vec4<f32>(0.0), vec4<f32>(w), digit <= vec4<u32>(0u, 1u, 2u, 3u));
      b += select(vec4<f32>(0.0), vec4<f32>(w), digit <= vec4<u32>(4u, 5u, 6u, 7u));
    }
    held = n;
    low[t] = a;
    high[t] = b;
    add_up(t, half);
    // Sums up to and with each digit.
    let sums = array<f32, 8>(low[0].x, low[0].y, low[0].z, low[0].w, high[0].x, high[0].y, high[0].z, high[0].w);
    workgroupBarrier();
    var digit = 0u;
    var under = 0.0;
${range(7).map((d) => `    if (${counters[d]} < ${counters[7]} && (before + ${counters[d]} < goal || (past && before + ${counters[d]} == goal))) { digit = ${d + 1}u; under = ${counters[d]}; }`).join('\n')}
    ties = 0.0;
${range(8).map((d) => `    if (digit == ${d}u) { ties = ${counters[d]} - under; }`).join('\n')}
    before += under;
    first += digit << shift;
    last = first + ((1u << shift) - 1u);
  }
  found_key = first;
}
`;
  return {
    family: 'sample',
    wgsl: `// one row, ${width} columns
${memory.head()}${functions}@compute @workgroup_size(${W})
fn main(@builtin(local_invocation_index) t: u32) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [W, 1, 1], features: memory.features(), grid: [1, 1, 1],
  };
}
