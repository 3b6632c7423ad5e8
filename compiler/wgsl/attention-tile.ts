/**
 * The tile kernel: one workgroup computes a block of query rows of one head (or of all heads that share a KV head)
 * against all keys, or against one split of them.
 *
 * Per key block: scores into workgroup memory, softmax by rows there, weighted values onto register sums. Scores go
 * through workgroup memory raw, which keeps the text short: only the two products are written out per invocation.
 */
import type { AttentionTileSchedule } from '../schedule/attention-tile.ts';
import type { AttentionWork } from './attention.ts';
import { lowest, rowDataAt, spanCount } from './attention-context.ts';
import { loadQueries } from './attention-query.ts';
import { results } from './attention-results.ts';
import { scores } from './attention-scores.ts';
import { softmax } from './attention-softmax.ts';
import type { TileContext } from './attention-tile-context.ts';
import { tileContext } from './attention-tile-context.ts';
import { gatherSums, noSums, values } from './attention-values.ts';
import { beginSplits, queryBounds, spanOrigin, walkKeys } from './attention-walk.ts';
import type { Kernel } from './kernel.ts';

export function tileKernel(work: AttentionWork<AttentionTileSchedule>): Kernel {
  const x = tileContext(work), { spec, schedule, tile, memory, facts } = x;
  const hpg = tile.headsPerGroup, group = spec.heads / spec.kvHeads, W = tile.invocations;
  workgroupMemory(x);
  const count = memory.poly(spec.qRows);
  const fill = loadQueries(x);
  const body = `
@compute @workgroup_size(${W})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let count = ${count};
  let entries = count * ${hpg}u;${beginSplits(x)}
  let first = group.x * ${tile.rows}u;
  let kv_head = ${hpg === 1 && group > 1 ? `group.y / ${group}u` : 'group.y'};${schedule.rolled ? `
  // Never 0 here, which no driver knows.
  let head_end = select(${tile.headVectors}u, 0u, ${spanCount(x)} == 0u);` : ''}
  ${schedule.rowGroups === 1 ? 'let lane = t;' : `let lane = t % ${schedule.lanes}u;\n  let row0 = t / ${schedule.lanes}u * ${schedule.rowsPerThread}u;`}
  ${schedule.valueGroups === 1 ? 'let channel = lane;' : `let channel = lane % ${tile.channelLanes}u;\n  let value_group = lane / ${tile.channelLanes}u;`}
  for (var i = t; i < ${tile.rows}u; i += ${W}u) {
    highest[i] = ${lowest};${facts.expr ? `
    tokens[i] = ${rowDataAt(x, x.entryRow('min(first + i, entries - 1u)'))};` : ''}
  }
  for (var i = t; i < ${tile.rows * tile.softmaxLanes}u; i += ${W}u) { total[i] = 0.0; }
  ${noSums(x)}
  ${spec.relative ? 'var turned = -1i;' : fill}${queryBounds(x)}
${walkKeys(x, spec.relative ? turnQueries(x, fill) : '', `${scores(x)}${softmax(x)}${values(x)}`)}
  workgroupBarrier();${gatherSums(x)}
${results(x)}
}
`;
  return {
    family: 'attention', wgsl: memory.head() + body, bindings: memory.bindings(), workgroup: [W, 1, 1],
    grid: [{ ceil: spec.qRows.mul(hpg), by: tile.rows }, spec.heads / hpg, x.fixedSplits ?? schedule.splits], features: memory.features(),
  };
}

function workgroupMemory({ memory, tile, type, schedule, facts }: TileContext): void {
  const declare = (name: string, element: string, length: number): void => { memory.helper(name, `var<workgroup> ${name}: array<${element}, ${length}>;`); };
  declare('query', type, tile.queryVectors);
  declare('probability', 'f32', tile.keys * tile.pitch);
  declare('highest', 'f32', tile.rows);
  declare('correction', 'f32', tile.rows);
  declare('total', 'f32', tile.rows * tile.softmaxLanes);
  if (tile.softmaxLanes > 1) declare('maxima', 'f32', tile.rows * tile.softmaxLanes);
  if (schedule.staged) declare('staging', type, tile.stagedVectors);
  if (facts.expr) declare('tokens', 'vec4<i32>', tile.rows);
}

/**
 * Queries are loaded anew when a span has another origin. No barrier before: whoever gets here has passed one after
 * the last use of the queries, and the next block begins with one.
 */
const turnQueries = (x: TileContext, fill: string): string => `let origin = ${spanOrigin(x)};
    if (origin != turned) {
      turned = origin;
      ${fill}
    }`;
