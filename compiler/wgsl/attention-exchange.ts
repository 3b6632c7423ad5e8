/**
 * The exchange kernel: one workgroup is a team of lanes inside one subgroup, and computes a block of query rows of one head
 * (or of all heads that share a KV head) against all keys, or against one split of them. No workgroup memory, no barriers.
 *
 * Tile: `lanes · rowsPerThread` query rows by `lanes · keysPerThread` keys. A lane loads vectors of query rows and of keys
 * of its own; every lane is given the queries of all others and ends with the scores of all rows against its own keys, in
 * registers. For values a lane owns channels, and is given the weights of one lane's keys after another.
 * Lane `i` keeps the maxima of its own rows; sums of weights stay lane by lane until the end.
 * Preconditions: the invocations of a workgroup are the first `lanes` of one subgroup, which may be larger.
 */
import type { AttentionExchangeSchedule } from '../schedule/attention-exchange.ts';
import type { AttentionWork } from './attention.ts';
import type { AttentionContext } from './attention-context.ts';
import { attentionContext, excluded, lowest, rowDataAt, spanCount } from './attention-context.ts';
import { queryScale, turnBack } from './attention-query.ts';
import { results } from './attention-results.ts';
import { beginSplits, queryBounds, spanOrigin, walkKeys } from './attention-walk.ts';
import type { Kernel } from './kernel.ts';
import { blockSome } from './mask.ts';
import { range } from './printer.ts';

interface ExchangeContext extends AttentionContext<AttentionExchangeSchedule> {
  /** The query rows that a lane loads, its keys, and all lanes. */
  readonly own: readonly number[];
  readonly keys: readonly number[];
  readonly lanes: readonly number[];
  /** All rows of the block: row `a · lanes + i` is row `a` of lane `i`. */
  readonly rows: readonly number[];
}

export function exchangeKernel(work: AttentionWork<AttentionExchangeSchedule>): Kernel {
  const base = attentionContext(work), { spec, schedule, tile, memory } = base, T = schedule.lanes;
  const x: ExchangeContext = { ...base, own: range(schedule.rowsPerThread), keys: range(schedule.keysPerThread), lanes: range(schedule.lanes), rows: range(tile.rows) };
  memory.need('subgroups');
  const hpg = tile.headsPerGroup, group = spec.heads / spec.kvHeads;
  const count = memory.poly(spec.qRows);
  const body = `
@compute @workgroup_size(${T})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let count = ${count};
  let entries = count * ${hpg}u;${beginSplits(x)}
  let first = group.x * ${tile.rows}u;
  let kv_head = ${hpg === 1 && group > 1 ? `group.y / ${group}u` : 'group.y'};
  // Never 0 here, which no driver knows: loops over a head are not to be unrolled, for the sake of compile time.
  let head_end = select(${tile.headVectors}u, 0u, ${spanCount(x)} == 0u);
  let channel = lane;
${x.own.map((a) => ownRow(x, a)).join('\n')}
  ${x.rows.map((r) => `var total${r} = 0.0; ${x.channels.map((c) => `var o${r}_${c} = ${zero(x)};`).join(' ')}`).join('\n  ')}
  ${x.own.map((a) => `var highest${a} = ${lowest};`).join(' ')}${queryBounds(x)}
${walkKeys(x, spec.relative ? `let turned = ${spanOrigin(x)};` : '', `${scores(x)}${admit(x)}${softmax(x)}${values(x)}`)}
  ${x.rows.map((r) => sumOverLanes(x, `total${r}`)).join('\n  ')}
${x.scratch ? `  ${x.rows.map((r) => `let high${r} = subgroupBroadcast(highest${Math.floor(r / T)}, ${r % T}u);`).join(' ')}\n` : ''}${results({ ...x, row: (r) => `${r}u`, total: (r) => `total${r}`, highest: (r) => `high${r}` })}
}
`;
  return {
    family: 'attention', wgsl: memory.head() + body, bindings: memory.bindings(), workgroup: [T, 1, 1],
    grid: [{ ceil: spec.qRows.mul(hpg), by: tile.rows }, spec.heads / hpg, x.fixedSplits ?? schedule.splits], features: memory.features(),
  };
}

const zero = (x: ExchangeContext): string => (x.w === 1 ? '0.0' : `${x.type}()`);

/** Leaves in every lane the sum of what the lanes hold in the variable `name`. */
const sumOverLanes = ({ schedule }: ExchangeContext, name: string): string =>
  range(Math.log2(schedule.lanes)).map((i) => `${name} += subgroupShuffleXor(${name}, ${2 ** i}u);`).join(' ');

/** Where the lane's query row `a` lies, and its token. Beyond the last entry the last one stands in; nobody stores its results. */
function ownRow(x: ExchangeContext, a: number): string {
  const { spec, q, schedule, facts } = x, entry = `entry${a}`;
  return `  let ${entry} = min(first + ${a * schedule.lanes}u + lane, entries - 1u);
  let query${a} = ${q.element(x.entryRow(entry), `(${x.entryHead(entry)}) * ${spec.headDim}u`)};${facts.expr ? `
  let token${a} = ${rowDataAt(x, x.entryRow(entry))};` : ''}`;
}

/** The lane's key `j` within the block. */
const key = ({ schedule }: ExchangeContext, j: number): string => `lane * ${schedule.keysPerThread}u + ${j}u`;

/** `s‹row›_‹key›` of all rows and the lane's keys. Beyond the end of the block the last key stands in. */
function scores(x: ExchangeContext): string {
  const { spec, schedule, q, k, w, own, keys, lanes, rows } = x;
  const dot = (a: string, b: string): string => (w === 1 ? `${a} * ${b}` : `dot(${a}, ${b})`);
  const load = (a: number) => (e: string): string => q.load(`query${a} + ${e}`, w);
  const turn = spec.relative && turnBack(x, 'at_element');
  const at = w > 1 ? `e * ${w}u` : 'e';
  return `      ${keys.map((j) => `let key${j} = ${k.start(`(slot + begin + min(${key(x, j)}, n - 1u))`, 'kv_head')};`).join('\n      ')}
      ${rows.map((r) => keys.map((j) => `var s${r}_${j} = 0.0;`).join(' ')).join('\n      ')}
      for (var e = 0u; e < head_end; e++) {
        let at_element = ${at};
        ${keys.map((j) => `let k${j} = ${k.load(`key${j}`, 'e')};`).join('\n        ')}
        ${own.map((a) => `var x${a} = ${load(a)('at_element')};`).join('\n        ')}${turn ? `
        if (turned > 0) {
          ${[...turn.angles, ...own.flatMap((a) => turn.back(`x${a}`, load(a)))].join('\n          ')}
        }` : ''}
        ${own.map((a) => `x${a} = x${a} * ${queryScale(x)};`).join(' ')}
        ${own.flatMap((a) => lanes.map((i) => `{ let x = subgroupBroadcast(x${a}, ${i}u); ${keys.map((j) => `s${a * schedule.lanes + i}_${j} += ${dot('x', `k${j}`)};`).join(' ')} }`)).join('\n        ')}
      }`;
}

/** Strikes out keys beyond the end of the block, and what the mask excludes. Bit `i` of `admits‹a›_‹key›` is row `a` of lane `i`. */
function admit(x: ExchangeContext): string {
  const { schedule, tile, facts, own, keys, lanes } = x;
  const predicate = facts.expr ? `
        if (ask == ${blockSome}u) {
          ${keys.map((j) => `let token_of_key${j} = vec4<i32>(at.x + i32(begin + ${key(x, j)}), place.z, at.y + i32(begin + ${key(x, j)}), place.w);`).join('\n          ')}
          for (var i = 0u; i < ${schedule.lanes}u; i++) {
            let others = ~(1u << i);
            ${own.map((a) => `{ let token = subgroupShuffle(token${a}, i); ${keys.map((j) => `admits${a}_${j} &= select(others, 0xffffffffu, mask_allows(token, token_of_key${j}));`).join(' ')} }`).join('\n            ')}
          }
        }` : '';
  return `
      if (${facts.expr ? `ask == ${blockSome}u || ` : ''}n < ${tile.keys}u) {
        ${own.map((a) => keys.map((j) => `var admits${a}_${j} = select(0u, 0xffffffffu, ${key(x, j)} < n);`).join(' ')).join('\n        ')}${predicate}
        ${own.flatMap((a) => lanes.map((i) => keys.map((j) => `s${a * schedule.lanes + i}_${j} = select(${excluded}, s${a * schedule.lanes + i}_${j}, (admits${a}_${j} & ${2 ** i}u) != 0u);`).join(' '))).join('\n        ')}
      }`;
}

/**
 * Online softmax: scores become weights, and sums of earlier blocks are corrected. Maximum and correction of a row are the
 * work of one lane, that of the row's own number, which then tells all others.
 */
function softmax(x: ExchangeContext): string {
  const { schedule: { lanes: T }, own, lanes, keys, channels } = x;
  const row = (r: number, i: number, a: number): string => `{
          let high = subgroupBroadcast(highest${a}, ${i}u);
          let c = subgroupBroadcast(correction, ${i}u);
          ${keys.map((j) => `s${r}_${j} = select(0.0, exp2(s${r}_${j} - high), s${r}_${j} > ${lowest});`).join(' ')}
          total${r} = total${r} * c + (${keys.map((j) => `s${r}_${j}`).join(' + ')});
          ${channels.map((c) => `o${r}_${c} *= c;`).join(' ')}
        }`;
  return `
      ${own.map((a) => `{
        ${lanes.map((i) => `var m${i} = ${keys.map((j) => `s${a * T + i}_${j}`).reduce((p, q) => `max(${p}, ${q})`)};`).join(' ')}
        ${maximaMeet(T)}
        let high = max(m0, highest${a});
        let correction = exp2(highest${a} - high);
        highest${a} = high;
        ${lanes.map((i) => row(a * T + i, i, a)).join('\n        ')}
      }`).join('\n      ')}`;
}

/**
 * Leaves in `m0` of lane `i` the maximum of all lanes' `m‹i›`. With every step a lane keeps half of its rows and gives the
 * others to the lane that keeps those: `lanes - 1` exchanges, where folding row by row would take `lanes · log2(lanes)`.
 */
function maximaMeet(lanes: number): string {
  const lines: string[] = [];
  for (let far = lanes / 2; far >= 1; far /= 2) {
    const upper = `(lane & ${far}u) != 0u`;
    for (const i of range(far)) lines.push(`m${i} = max(select(m${i}, m${i + far}, ${upper}), subgroupShuffleXor(select(m${i + far}, m${i}, ${upper}), ${far}u));`);
  }
  return lines.join('\n        ');
}

/** Teams so small that what they do with every lane's keys is written out: a loop over four costs SwiftShader a sixth of the time. */
const mostWrittenOut = 4;

/** Adds the values of one key block, weighted, the keys of one lane at a time. Padding has the weight 0. */
function values(x: ExchangeContext): string {
  const { schedule, v, rows, keys, lanes, channels } = x, n = schedule.keysPerThread;
  const add = (owner: string, weight: (score: string) => string): string => `
        ${keys.map((j) => `let start${j} = ${v.start(`(value_slot + begin + min(${owner} * ${n}u + ${j}u, n - 1u))`, 'kv_head')};`).join('\n        ')}
        ${keys.map((j) => channels.map((c) => `let v${j}_${c} = ${v.load(`start${j}`, x.channel(c))};`).join(' ')).join('\n        ')}
        ${rows.map((r) => `{ ${keys.map((j) => `let p${j} = ${weight(`s${r}_${j}`)};`).join(' ')} ${channels.map((c) => `o${r}_${c} += ${keys.map((j) => `p${j} * v${j}_${c}`).join(' + ')};`).join(' ')} }`).join('\n        ')}`;
  if (lanes.length <= mostWrittenOut) return lanes.map((i) => `
      {${add(`${i}u`, (s) => `subgroupBroadcast(${s}, ${i}u)`)}
      }`).join('');
  return `
      for (var owner = 0u; owner * ${n}u < n; owner++) {${add('owner', (s) => `subgroupShuffle(${s}, owner)`)}
      }`;
}
