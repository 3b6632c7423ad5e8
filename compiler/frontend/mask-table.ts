import type { AnyMask } from '../dsl/mask.ts';
import type { GraphBuilder } from '../ir/builder.ts';
import type { MaskExpr } from '../ir/mask/index.ts';
import { always, and, sameExpr } from '../ir/mask/index.ts';
import { maskPlace } from '../dsl/mask.ts';

const lowerMask = (_d: unknown): MaskExpr => always;

/** The masks of one graph: each is read once, and gets the name that its author gave it. */
export class MaskTable {
  private readonly names = new Map<AnyMask['definition'], string>();
  constructor(private readonly builder: GraphBuilder) {}

  /** Declares a mask in the graph and gives its name there; the same predicate twice is one mask. */
  declare(mask: AnyMask): string {
    let name = this.names.get(mask.definition);
    if (name === undefined) {
      name = this.add(mask);
      this.names.set(mask.definition, name);
    }
    return name;
  }
  private add(mask: AnyMask): string {
    const expr = lower(mask);
    const wanted = 'mask';
    let name = wanted;
    for (let i = 2; this.builder.masks.has(name); i++) {
      const other = this.builder.masks.get(name)!;
      if (other.sequence === mask.sequence.ir && sameExpr(other.expr, expr)) return name;
      name = `${wanted}_${i}`;
    }
    const where = maskPlace(mask);
    this.builder.mask({ name, sequence: mask.sequence.ir, expr, ...(where && { where }) });
    return name;
  }
}
const lower = (mask: AnyMask): MaskExpr => mask.definition.is === 'all' ? and(...mask.definition.parts.map(lower)) : lowerMask(mask.definition);
