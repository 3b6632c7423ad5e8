/** Binding of parameters and constants: names, and patterns that take values apart. */
import { Node } from 'ts-morph';
import type { LocalScope } from './scope.ts';
import { MaskError, unsupported } from './source.ts';
import type { Reader, Scope, Value } from './values.ts';
import { describeValue, plain } from './values.ts';
import { propertyOf } from './properties.ts';

/** Binds the names of `target` in `scope` to the parts of `value`; default values are read in `around`. */
export const bindPattern = (reader: Reader, target: Node, value: Value, scope: LocalScope, around: Scope): void => {
  if (Node.isIdentifier(target)) return scope.bind(target.getText(), value);
  if (!Node.isObjectBindingPattern(target) && !Node.isArrayBindingPattern(target)) return unsupported(target, 'A mask cannot bind this.');
  target.getElements().forEach((element, i) => {
    if (!Node.isBindingElement(element)) return;
    const rest = element.getDotDotDotToken() !== undefined;
    let part: Value;
    if (Node.isObjectBindingPattern(target)) {
      if (rest) return unsupported(element, 'A mask cannot take the rest of an object.');
      const key = element.getPropertyNameNode() ?? element.getNameNode();
      part = propertyOf(reader, value, Node.isStringLiteral(key) ? key.getLiteralText() : key.getText(), element);
    } else {
      if (value.is !== 'list') throw new MaskError(target, `Only a list can be taken apart like this, but this is ${describeValue(value)}.`);
      part = rest ? { is: 'list', items: value.items.slice(i) } : value.items[i] ?? plain(undefined);
    }
    const initial = element.getInitializer();
    if (part.is === 'plain' && part.value === undefined && initial) part = reader.evaluate(initial, around);
    bindPattern(reader, element.getNameNode(), part, scope, around);
  });
};
