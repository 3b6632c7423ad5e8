/** `value.name` and `value[i]`. */
import type { Node } from 'ts-morph';
import type { MaskExpr, TokenField } from '../../ir/mask/index.ts';
import { or, tokenFields, variable } from '../../ir/mask/index.ts';
import { suggest } from '../../ir/spelling.ts';
import { compareValues } from './operators.ts';
import { MaskError, unsupported } from './source.ts';
import type { Reader, Value } from './values.ts';
import { asBoolean, describeValue, plain, symbolic } from './values.ts';
import { and } from '../../ir/mask/index.ts';

export const propertyOf = (reader: Reader, of: Value, name: string, node: Node): Value => {
  switch (of.is) {
    case 'token':
      if (!tokenFields.includes(name as TokenField)) throw new MaskError(node, `A token has no '${name}'.${suggest(name, tokenFields, 'It has')}`);
      return symbolic(variable(of.token, name as TokenField));
    case 'record':
      return of.get(name) ?? unsupported(node, `${of.what[0]!.toUpperCase()}${of.what.slice(1)} has no '${name}' that a mask can use.`);
    case 'list':
      return name === 'length' ? plain(of.items.length) : listMethod(reader, of.items, name) ?? unsupported(node, `A mask cannot use '${name}' of a list.`);
    default:
      return unsupported(node, `A mask cannot use '${name}' of ${describeValue(of)}.`);
  }
};

/** An element of a list or a record, by a constant index or key. */
export const elementOf = (reader: Reader, of: Value, index: Value, node: Node): Value => {
  if (index.is !== 'plain') return unsupported(node, 'A mask can look up an element only by a constant.');
  if (of.is === 'list' && typeof index.value === 'number') return of.items[index.value] ?? plain(undefined);
  return propertyOf(reader, of, String(index.value), node);
};

const listMethod = (reader: Reader, items: readonly Value[], name: string): Value | undefined => {
  const each = (test: (item: Value) => MaskExpr, join: (...all: MaskExpr[]) => MaskExpr): Value => symbolic(join(...items.map(test)));
  switch (name) {
    case 'includes':
      return { is: 'known', name, call: ([x], node) => each((item) => asBoolean(compareValues(reader, '===', x ?? plain(undefined), item, node), reader.kinds, node), or) };
    case 'some': case 'every':
      return { is: 'known', name, call: ([f], node) => each((item) => asBoolean(reader.call(f ?? plain(undefined), [item], node), reader.kinds, node), name === 'some' ? or : and) };
    default:
      return undefined;
  }
};
