import type { Manifest } from '../../runtime/manifest.ts';

/** `bundle.d.ts`: the bundle's entry points and limits as types, for whoever drives them without `Model`. */
export function bundleTypes(m: Pick<Manifest, 'model' | 'sequences' | 'targets' | 'media' | 'vocabulary'>): string {
  const kinds = m.sequences[0]!.kinds, target = m.targets[0];
  const lines = [
    `/** Typed view of this bundle's bundle.json. Made by the compiler of '${m.model.name}'; do not edit. */`,
    `export type Kind = ${kinds.map((k) => `'${k.name}'`).join(' | ')};`,
    `export interface Limits {`,
    ...kinds.map((k) => `  /** Most ${k.name} rows of a conversation. */\n  readonly ${k.name}: ${k.capacity};`),
    `}`,
    `/** Sizes of the dims at a step: new rows, and rows in the cache with them. */`,
    `export interface Dims {`,
    ...(target?.dims ?? []).map((d) => `  readonly ${d}: number;`),
    `}`,
    `export interface EntryPoints {`,
  ];
  const seen = m.media ? `${m.media.input.source}: Float32Array /* ${m.media.input.shape.join(' × ')} */` : '';
  const gathered = Object.values(target?.buffers ?? {}).flatMap((b) => (b.kind === 'input' && b.source === 'row_map' ? ['row_map: Int32Array'] : b.kind === 'input' && b.source === 'row_weights' ? ['row_weights: Float32Array'] : []));
  const inputs: Readonly<Record<string, string>> = {
    tile: seen,
    vision: target?.entries.tile ? gathered.join(', ') : seen,
    prefill: 'ids: Int32Array',
    decode: 'id: number',
  };
  for (const [name, entry] of Object.entries(target?.entries ?? {})) {
    const outputs = Object.entries(entry?.outputs ?? {}).map(([key, o]) => `readonly ${key}: ${o.dtype === 'i32' ? 'Int32Array' : 'Float32Array'} /* ${o.width} */`);
    lines.push(`  ${name}(dims: Dims${inputs[name] ? `, ${inputs[name]}` : ''}): Promise<{ ${outputs.join('; ')}${outputs.length ? ' ' : ''}}>;`);
  }
  return [...lines, '}', ''].join('\n');
}
