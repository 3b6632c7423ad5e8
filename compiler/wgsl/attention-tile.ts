/**
 * The tile kernel: one workgroup computes a block of query rows of one head (or of all heads that share a KV head)
 * against all keys, or against one split of them.
 *
 * Per key block: scores into workgroup memory, softmax by rows there, weighted values onto register sums. Scores go
 * through workgroup memory raw, which keeps the text short: only the two products are written out per invocation.
 *
 * Entries: row r of the tile is entry `first + r` of `query rows × heads of the group`, heads varying fastest.
 */
import { Poly } from '../ir/poly.ts';
import type { AttentionWork } from './attention.ts';
import { activeSplits, recordElements } from './attention.ts';
import { maskFacts } from './attention-mask.ts';
import { loadQueries } from './attention-query.ts';
import { walk } from './attention-walk.ts';
import type { Kernel } from './kernel.ts';
import type { Lanes, ViewAccess } from './printer.ts';
import { Memory, range, vecType } from './printer.ts';
import { blockSome } from './mask.ts';

/** Below every score, and below the maximum that a row begins with. Finite: nothing relies on infinities. */
const lowest = '-1e30', excluded = '-1e38';

export function tileKernel(work: AttentionWork): Kernel {
  const { spec, schedule, shape, tile, options } = work;
  const memory = new Memory(options), facts = maskFacts(spec), w = shape.vector as Lanes, T = vecType(w);
  const rowsT = range(schedule.rowsPerThread), keysT = range(schedule.keysPerThread), channelsT = range(tile.channels);
  const group = spec.heads / spec.kvHeads, hpg = tile.headsPerGroup, W = tile.invocations;
  const split = schedule.splits > 1, fixedSplits = shape.queryRows === undefined ? undefined : activeSplits(work, shape.queryRows);
  const staged = schedule.staged > 0;

  // Every access is declared before the first is printed.
  const q = memory.view('q', spec.q, w);
  const k = memory.view('k', { ...spec.k, regions: undefined }, w), v = memory.view('v', { ...spec.v, regions: undefined }, w);
  const direct = !split || fixedSplits === undefined || fixedSplits === 1;
  const out = direct ? memory.view('out', spec.out, w, { width: spec.heads * spec.valueDim }) : undefined;
  const record = recordElements(shape);
  const scratch = split ? memory.view('scratch', spec.scratch!, w, { width: record }) : undefined;
  const walking = walk(work, facts, memory);
  if (spec.relative) memory.entries('angles', spec.relative.table, 'vec2<f32>');
  const rows = facts.expr ? memory.entries('rows', spec.rows, 'vec4<i32>') : '';

  /** Vector `i` after the element `at`. */
  const behind = (a: ViewAccess, at: string, i: string): string => a.load(`${at} + ${w > 1 ? `(${i}) * ${w}u` : i}`, w);
  const dot = (a: string, b: string): string => (w === 1 ? `${a} * ${b}` : `dot(${a}, ${b})`);
  const entryRow = (entry: string): string => (hpg === 1 ? entry : `(${entry}) / ${hpg}u`);

  // One row group: the row index is a constant, and adapters that tell uniform addresses load queries once for all lanes.
  const rowBase = schedule.rowGroups === 1 ? '' : 'row0 + ';
  const score = (key: string, row: string): string => `probability[(${key}) * ${tile.pitch}u + ${row}]`;
  const helper = [
    `var<workgroup> query: array<${T}, ${tile.queryVectors}>;`,
    `var<workgroup> probability: array<f32, ${tile.keys * tile.pitch}>;`,
    `var<workgroup> highest: array<f32, ${tile.rows}>;`,
    `var<workgroup> correction: array<f32, ${tile.rows}>;`,
    `var<workgroup> total: array<f32, ${tile.rows * tile.softmaxLanes}>;`,
    ...(tile.softmaxLanes > 1 ? [`var<workgroup> maxima: array<f32, ${tile.rows * tile.softmaxLanes}>;`] : []),
    ...(staged ? [`var<workgroup> staging: array<${T}, ${tile.stagedVectors}>;`] : []),
    ...(facts.expr ? [`var<workgroup> tokens: array<vec4<i32>, ${tile.rows}>;`] : []),
  ];
  helper.forEach((text) => memory.helper(text, text));

  const count = memory.poly(spec.qRows);
  const fillQueries = loadQueries(work, memory, q, entryRow(`min(first + i / ${tile.headVectors}u, entries - 1u)`), hpg === 1 ? 'group.y' : `group.y * ${hpg}u + min(first + i / ${tile.headVectors}u, entries - 1u) % ${hpg}u`);

  // A bound that no driver can see through: there are always spans where this is used.
  const headEnd = schedule.rolled ? 'head_end' : `${tile.headVectors}u`;
  const products = (key: (i: number) => string, at: string): string => [
    ...keysT.map((j) => `let k${j} = ${key(j)};`),
    ...rowsT.map((r) => `{ let x = query[(${rowBase}${r}u) * ${tile.headVectors}u + ${at}]; ${keysT.map((j) => `s${r}_${j} += ${dot('x', `k${j}`)};`).join(' ')} }`),
  ].join('\n        ');
  const keyOf = (j: number): string => `lane + ${j * schedule.lanes}u`;
  const scores = `
      ${rowsT.map((r) => keysT.map((j) => `var s${r}_${j} = 0.0;`).join(' ')).join('\n      ')}
${staged ? `      for (var e0 = 0u; e0 < ${tile.headVectors}u; e0 += ${tile.keyChunk}u) {
        workgroupBarrier();
        for (var i = t; i < ${tile.keys * tile.keyChunk}u; i += ${W}u) {
          let key = i / ${tile.keyChunk}u;
          let e = i % ${tile.keyChunk}u;
          let start = ${k.element(`(slot + begin + min(key, n - 1u))`, `kv_head * ${spec.headDim}u`)};
          staging[key * ${tile.keyChunk + 1}u + e] = ${behind(k, 'start', `min(e0 + e, ${tile.headVectors - 1}u)`)};
        }
        workgroupBarrier();
        let chunk = ${schedule.rolled ? `min(${tile.keyChunk}u, ${headEnd} - e0)` : tile.headVectors % tile.keyChunk ? `min(${tile.keyChunk}u, ${tile.headVectors}u - e0)` : `${tile.keyChunk}u`};
        for (var e = 0u; e < chunk; e++) {
        ${products((j) => `staging[(${keyOf(j)}) * ${tile.keyChunk + 1}u + e]`, 'e0 + e')}
        }
      }` : `      workgroupBarrier();
      ${keysT.map((j) => `let key_at${j} = ${k.element(`(slot + begin + min(${keyOf(j)}, n - 1u))`, `kv_head * ${spec.headDim}u`)};`).join('\n      ')}
      for (var e = 0u; e < ${headEnd}; e++) {
        ${products((j) => behind(k, `key_at${j}`, 'e'), 'e')}
      }`}
      ${rowsT.map((r) => keysT.map((j) => `${score(keyOf(j), `${rowBase}${r}u`)} = s${r}_${j};`).join(' ')).join('\n      ')}
${facts.expr ? `      if (ask == ${blockSome}u) {
        for (var j = lane; j < n; j += ${schedule.lanes}u) {
          let key = vec4<i32>(at.x + i32(begin + j), place.z, at.y + i32(begin + j), place.w);
          for (var r = 0u; r < ${schedule.rowsPerThread}u; r++) {
            if (!mask_allows(tokens[${rowBase}r], key)) { ${score('j', `${rowBase}r`)} = ${excluded}; }
          }
        }
      }` : ''}
      workgroupBarrier();`;

  const exponentials = (step: string): string => `for (var j = ${step === '1u' ? '0u' : `t % ${step}`}; j < n; j += ${step}) {
          let s = ${score('j', 'row')};
          let p = select(0.0, exp2(s - high), s > ${lowest});
          ${score('j', 'row')} = p;
          sum += p;
        }`;
  const L = tile.softmaxLanes;
  const softmax = L === 1 ? `
      for (var row = t; row < ${tile.rows}u; row += ${W}u) {
        let before = highest[row];
        var high = before;
        for (var j = 0u; j < n; j++) { high = max(high, ${score('j', 'row')}); }
        var sum = 0.0;
        ${exponentials('1u')}
        let c = exp2(before - high);
        highest[row] = high;
        correction[row] = c;
        total[row] = total[row] * c + sum;
      }
      workgroupBarrier();` : `
      let row = t / ${L}u;
      let has_row = row < ${tile.rows}u;
      var before = ${lowest};
      var high = ${lowest};
      if (has_row) {
        before = highest[row];
        high = before;
        for (var j = t % ${L}u; j < n; j += ${L}u) { high = max(high, ${score('j', 'row')}); }
        maxima[t] = high;
      }
      workgroupBarrier();
      if (has_row) {
        for (var i = 0u; i < ${L}u; i++) { high = max(high, maxima[row * ${L}u + i]); }
        var sum = 0.0;
        ${exponentials(`${L}u`)}
        let c = exp2(before - high);
        if (t % ${L}u == 0u) { highest[row] = high; correction[row] = c; }
        total[t] = total[t] * c + sum;
      }
      workgroupBarrier();`;

  const sums = (value: (c: number) => string, key: string): string => [
    ...channelsT.map((c) => `let v${c} = ${value(c)};`),
    ...rowsT.map((r) => `{ let p = ${score(key, `${rowBase}${r}u`)}; ${channelsT.map((c) => `o${r}_${c} += p * v${c};`).join(' ')} }`),
  ].join('\n          ');
  const everyChannel = tile.valueVectors % tile.channelLanes === 0;
  const channelOf = (c: number): string => (everyChannel ? `channel + ${c * tile.channelLanes}u` : `min(channel + ${c * tile.channelLanes}u, ${tile.valueVectors - 1}u)`);
  const firstKey = schedule.valueGroups === 1 ? '0u' : 'value_group';
  const values = `
      ${rowsT.map((r) => `{ let c = correction[${rowBase}${r}u]; ${channelsT.map((c) => `o${r}_${c} *= c;`).join(' ')} }`).join('\n      ')}
${staged ? `      for (var j0 = 0u; j0 < n; j0 += ${tile.valueChunk}u) {
        let here = min(${tile.valueChunk}u, n - j0);
        workgroupBarrier();
        for (var i = t; i < here * ${tile.valueVectors}u; i += ${W}u) {
          let start = ${v.element(`(slot + begin + j0 + i / ${tile.valueVectors}u)`, `kv_head * ${spec.valueDim}u`)};
          staging[i] = ${behind(v, 'start', `i % ${tile.valueVectors}u`)};
        }
        workgroupBarrier();
        for (var j = ${firstKey}; j < here; j += ${schedule.valueGroups}u) {
          ${sums((c) => `staging[j * ${tile.valueVectors}u + ${channelOf(c)}]`, 'j0 + j')}
        }
      }` : `      for (var j = ${firstKey}; j < n; j += ${schedule.valueGroups}u) {
          let start = ${v.element(`(slot + begin + j)`, `kv_head * ${spec.valueDim}u`)};
          ${sums((c) => behind(v, 'start', channelOf(c)), 'j')}
      }`}`;

  // Sums of value groups come together one group after the other, in the memory where the queries were.
  const exchange = schedule.valueGroups === 1 ? '' : `
  for (var g = 1u; g < ${schedule.valueGroups}u; g++) {
    workgroupBarrier();
    if (value_group == g) {
      ${rowsT.map((r) => channelsT.map((c) => `query[(${rowBase}${r}u) * ${tile.valueVectors}u + ${channelOf(c)}] = o${r}_${c};`).join(' ')).join('\n      ')}
    }
    workgroupBarrier();
    ${rowsT.map((r) => channelsT.map((c) => `o${r}_${c} += query[(${rowBase}${r}u) * ${tile.valueVectors}u + ${channelOf(c)}];`).join(' ')).join('\n    ')}
  }`;
  const guarded = (c: number, statements: readonly string[]): string =>
    everyChannel || (c + 1) * tile.channelLanes <= tile.valueVectors ? statements.join(' ') : `if (channel + ${c * tile.channelLanes}u < ${tile.valueVectors}u) { ${statements.join(' ')} }`;
  const rowTotal = (r: number): string => (L === 1 ? `total[${rowBase}${r}u]` : range(L).map((i) => `total[(${rowBase}${r}u) * ${L}u + ${i}u]`).join(' + '));
  const column = (c: number): string => `(channel + ${c * tile.channelLanes}u)${w > 1 ? ` * ${w}u` : ''}`;
  const entryOf = (r: number): string => `let entry = first + ${rowBase}${r}u;
    if (entry < entries) {
      let row = ${entryRow('entry')};
      let head = ${hpg === 1 ? 'group.y' : `group.y * ${hpg}u + entry % ${hpg}u`};
      let sum = ${rowTotal(r)};`;
  const finish = (o: ViewAccess): string => rowsT.map((r) => `  {
    ${entryOf(r)}
      let norm = select(0.0, 1.0, sum > 0.0) / max(sum, 1e-30);
      ${channelsT.map((c) => guarded(c, [`let y${c} = o${r}_${c} * norm;`, ...o.store(o.element('row', `head * ${spec.valueDim}u + ${column(c)}`), `y${c}`, w)])).join('\n      ')}
    }
  }`).join('\n');
  const leave = (s: ViewAccess): string => rowsT.map((r) => `  {
    ${entryOf(r)}
      let to = ((group.z * count + row) * ${spec.heads}u + head) * ${record}u;
      ${channelsT.map((c) => guarded(c, s.store(s.element('0u', `to + ${column(c)}`), `o${r}_${c}`, w))).join('\n      ')}
      if (channel == 0u) {
        ${w === 1 ? [...s.store(s.element('0u', `to + ${spec.valueDim}u`), `highest[${rowBase}${r}u]`, 1), ...s.store(s.element('0u', `to + ${spec.valueDim + 1}u`), 'sum', 1)].join(' ')
          : [`let state = ${T}(highest[${rowBase}${r}u], sum${', 0.0'.repeat(w - 2)});`, ...s.store(s.element('0u', `to + ${spec.valueDim}u`), 'state', w)].join(' ')}
      }
    }
  }`).join('\n');
  const onlyFirstGroup = schedule.valueGroups === 1 ? '' : '\n  if (value_group > 0u) { return; }';
  const write = !split ? finish(out!) : fixedSplits !== undefined ? (fixedSplits > 1 ? leave(scratch!) : finish(out!)) : `  if (splits == 1u) {\n${finish(out!)}\n  } else {\n${leave(scratch!)}\n  }`;

  const body = `
@compute @workgroup_size(${W})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let count = ${count};
  let entries = count * ${hpg}u;
  ${!split ? '' : fixedSplits !== undefined ? `let splits = ${fixedSplits}u;` : `let splits = clamp(${schedule.splitRows}u / max(count, 1u), 1u, ${schedule.splits}u);`}
  ${split ? 'if (group.z >= splits) { return; }' : ''}
  let first = group.x * ${tile.rows}u;
${schedule.rolled ? `  let head_end = select(${tile.headVectors}u, 0u, ${memory.poly(Poly.dim(`spans_${spec.sequence.name}`))} == 0u);\n` : ''}  let kv_head = ${hpg === 1 ? (group === 1 ? 'group.y' : `group.y / ${group}u`) : 'group.y'};
  ${schedule.rowGroups === 1 ? 'let lane = t;' : `let lane = t % ${schedule.lanes}u;\n  let row0 = t / ${schedule.lanes}u * ${schedule.rowsPerThread}u;`}
  ${schedule.valueGroups === 1 ? 'let channel = lane;' : `let channel = lane % ${tile.channelLanes}u;\n  let value_group = lane / ${tile.channelLanes}u;`}
  for (var i = t; i < ${tile.rows}u; i += ${W}u) { highest[i] = ${lowest}; ${facts.expr ? `tokens[i] = ${rows}[${spec.qRowData.isZero ? '' : `${memory.poly(spec.qRowData)} + `}${entryRow('min(first + i, entries - 1u)')}];` : ''} }
  for (var i = t; i < ${tile.rows * L}u; i += ${W}u) { total[i] = 0.0; }
  ${rowsT.map((r) => channelsT.map((c) => `var o${r}_${c} = ${T}(${w === 1 ? '0.0' : ''});`).join(' ')).join('\n  ')}
  ${spec.relative ? 'var turned = -1i;' : fillQueries}${walking.bounds}
${walking.loops(spec.relative ? `let origin = select(0i, at.z, ${spec.relative.kinds.map((n) => `place.z == ${n}i`).join(' || ') || 'false'});
    if (origin != turned) {
      turned = origin;
      ${fillQueries}
    }` : '', `${scores}${softmax}${values}`)}
  workgroupBarrier();${exchange}${onlyFirstGroup}
${write}
}
`;
  return {
    family: 'attention', wgsl: memory.head() + body, bindings: memory.bindings(), workgroup: [W, 1, 1],
    grid: [{ ceil: spec.qRows.mul(hpg), by: tile.rows }, spec.heads / hpg, fixedSplits ?? schedule.splits], features: memory.features(),
  };
}
