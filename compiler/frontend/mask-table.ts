import { Node } from 'ts-morph';
import type { AnyMask } from '../dsl/mask.ts';
import { maskPlace } from '../dsl/mask.ts';
import type { GraphBuilder } from '../ir/builder.ts';
import type { SourcePos } from '../ir/errors.ts';
import type { MaskExpr } from '../ir/mask/index.ts';
import { and, sameExpr } from '../ir/mask/index.ts';
import { lowerMask } from './mask/lower.ts';
import { sourceFile } from './mask/source.ts';

/** The masks of one graph: each is read once, and is named as its author named it. */
export class MaskTable {
  private readonly names = new Map<AnyMask['definition'], string>();
  private readonly read = new Map<AnyMask['definition'], MaskExpr>();
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
    const expr = this.lower(mask), wanted = authorName(mask), where = maskPlace(mask);
    let name = wanted;
    for (let i = 2; ; name = `${wanted}_${i++}`) {
      const other = this.builder.masks.get(name);
      if (!other) break;
      if (other.sequence === mask.sequence.ir && sameExpr(other.expr, expr)) return name;
    }
    this.builder.mask({ name, sequence: mask.sequence.ir, expr, ...(where && { where }) });
    return name;
  }

  private lower({ definition, sequence }: AnyMask): MaskExpr {
    let expr = this.read.get(definition);
    if (!expr) {
      const kinds = sequence.ir.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
      expr = definition.is === 'all' ? and(...definition.parts.map((part) => this.lower(part))) : lowerMask({ ...definition, kinds });
      this.read.set(definition, expr);
    }
    return expr;
  }
}

const authorName = ({ definition }: AnyMask): string =>
  definition.is === 'all' ? definition.parts.map(authorName).join('_and_') : (definition.where && declaredName(definition.where)) ?? 'mask';

/** The name of the variable, attribute or function that the call at a place stands in. */
function declaredName(where: SourcePos): string | undefined {
  const file = sourceFile(where.file), start = file?.compilerNode.getLineStarts()[where.line - 1];
  for (let n = start === undefined ? undefined : file!.getDescendantAtPos(start + where.column - 1); n; n = n.getParent()) {
    if (Node.isVariableDeclaration(n) || Node.isPropertyDeclaration(n) || Node.isPropertyAssignment(n) || Node.isFunctionDeclaration(n) || Node.isMethodDeclaration(n)) {
      const name = n.getName();
      if (name !== undefined && /^[A-Za-z_]\w*$/.test(name)) return name;
    }
  }
  return undefined;
}
