/** The values of names: those bound while reading, and those of the module and the calls around a function. */
import { fileURLToPath } from 'node:url';
import type { SourceFile, VariableDeclaration } from 'ts-morph';
import { Node } from 'ts-morph';
import { allOfMasks, knownMask } from './masks.ts';
import { declarationOf, declaredIn, isConst, isTopLevel, reassignmentOf } from './names.ts';
import type { Declaration } from './names.ts';
import { bindPattern } from './patterns.ts';
import type { RunningFunction } from './running.ts';
import { MaskError, resolveImport, unsupported } from './source.ts';
import type { Reader, Scope, Value } from './values.ts';
import { describeValue, plain } from './values.ts';
import { mathOf } from './math.ts';

/** Names bound by a block or a call that is being read. */
export class LocalScope implements Scope {
  private readonly names = new Map<string, Value>();
  constructor(private readonly parent: Scope) {}
  bind(name: string, value: Value): void { this.names.set(name, value); }
  lookup(name: string, node: Node): Value { return this.names.get(name) ?? this.parent.lookup(name, node); }
}

const dslFolder = fileURLToPath(new URL('../../dsl/', import.meta.url));

/**
 * The names around a piece of source that is not itself inside anything being read: of the module, by reading their
 * declarations; of calls that are over (a factory's parameters), from what the running function captured.
 */
export class OuterScope implements Scope {
  constructor(private readonly reader: Reader, private readonly anchor: Node, private readonly running?: RunningFunction) {}

  lookup(name: string, node: Node): Value {
    const found = declarationOf(name, this.anchor);
    return found ? this.valueOf(found, name, node) : this.global(name, node);
  }

  private global(name: string, node: Node): Value {
    if (name === 'undefined') return plain(undefined);
    if (name === 'Infinity') return plain(Infinity);
    if (name === 'NaN') return plain(NaN);
    if (name === 'Math') return mathOf(this.reader);
    const captured = this.captured(name);
    return captured ?? unsupported(node, `'${name}' is neither a token nor a constant of this file. A mask may depend on nothing else.`);
  }

  private valueOf(found: Declaration, name: string, node: Node): Value {
    switch (found.is) {
      case 'function': return { is: 'function', node: found.node, scope: new OuterScope(this.reader, found.node, this.running) };
      case 'enum': return enumRecord(found.node);
      case 'class': return unsupported(node, `'${name}' is a class. A mask is made of numbers and pure functions.`);
      case 'parameter': {
        const changed = reassignmentOf(found.node, name);
        if (changed) throw new MaskError(changed, `The mask uses '${name}', and here it gets another value. A mask can use only what never changes: put the final value into a const.`);
        return this.captured(name) ?? unsupported(node, `'${name}' is a parameter of the function around the mask, and its value could not be read from the running program.`);
      }
      case 'variable': {
        if (!isConst(found.node)) throw new MaskError(node, `'${name}' may change after the mask was read. Declare it with const.`);
        return isTopLevel(found.node) ? this.constant(found.node, name, node) : this.captured(name) ?? this.initial(found.node, name, node);
      }
      case 'import': return this.imported(found, name, node);
    }
  }

  /** A module's constant: what its source says, which must be what it holds; or what it holds, if the source says more than a mask can. */
  private constant(declaration: VariableDeclaration, name: string, node: Node): Value {
    let said: Value;
    try {
      said = this.initial(declaration, name, node);
    } catch (error) {
      const held = error instanceof MaskError ? this.captured(name) : undefined;
      if (held) return held;
      throw error;
    }
    const held = this.captured(name);
    if (said.is === 'plain' && held?.is === 'plain' && !Object.is(said.value, held.value))
      throw new MaskError(node, `The source says that '${name}' is ${describeValue(said)}, but in the running program it is ${describeValue(held)}. Save the file and start again.`);
    return said;
  }

  private initial(declaration: VariableDeclaration, name: string, node: Node): Value {
    const source = declaration.getInitializer();
    if (!source) return unsupported(node, `'${name}' is given its value where a mask cannot read it.`);
    const { constants } = this.reader;
    let value = constants.get(declaration);
    if (value === 'reading') throw new MaskError(declaration, `'${name}' is defined by itself.`);
    if (!value) {
      constants.set(declaration, 'reading');
      try {
        value = this.reader.evaluate(source, new OuterScope(this.reader, declaration, this.running));
      } finally {
        constants.delete(declaration);
      }
      constants.set(declaration, value);
    }
    const target = declaration.getNameNode();
    if (Node.isIdentifier(target)) return value;
    const scope = new LocalScope(this);
    bindPattern(this.reader, target, value, scope, this);
    return scope.lookup(name, node);
  }

  private captured(name: string): Value | undefined {
    const found = this.running && this.reader.captured(this.running, name);
    return found && this.reader.lift(found.value);
  }

  private imported(found: Declaration & { is: 'import' }, name: string, node: Node): Value {
    const specifier = found.node.getModuleSpecifierValue();
    const file = resolveImport(specifier, found.node.getSourceFile());
    if (specifier === 'eemllm' || file?.getFilePath().startsWith(dslFolder)) return dsl(this.reader, found.name, node);
    if (!file) return this.captured(name) ?? unsupported(node, `'${name}' comes from '${specifier}', whose source a mask cannot read. Copy what the mask needs of it into a file of your own.`);
    if (found.name !== '*') return this.exported(file, found.name, node);
    return { is: 'record', what: `the module '${specifier}'`, get: (key) => this.exported(file, key, node) };
  }

  private exported(file: SourceFile, name: string, node: Node): Value {
    const value = exportOf(this.reader, file, name, node, new Set());
    return value ?? unsupported(node, `${file.getFilePath()} exports no '${name}' that a mask can read.`);
  }
}

/** Of the DSL itself, masks can use masks. */
const dsl = (reader: Reader, name: string, node: Node): Value => {
  if (name === 'mask') return { is: 'known', name, call: ([, fn, parameters], call) => (fn ? knownMask(reader, fn, parameters) : unsupported(call, 'mask() needs a predicate.')) };
  if (name === 'allOf') return { is: 'known', name, call: (parts) => allOfMasks(reader, parts) };
  if (name === 'sequence') return { is: 'known', name, call: () => ({ is: 'record', what: 'a sequence', get: () => undefined }) };
  return unsupported(node, `'${name}' is no part of masks.`);
};

const exportOf = (reader: Reader, file: SourceFile, name: string, node: Node, seen: Set<string>): Value | undefined => {
  const question = `${name} of ${file.getFilePath()}`;
  if (seen.has(question)) return undefined; // modules that export each other
  seen.add(question);
  const inside = (local: string): Value => new OuterScope(reader, file.getStatements()[0] ?? file).lookup(local, node);
  const direct = declaredIn(file.getStatements(), name);
  if (direct && direct.is !== 'import' && isExported(direct)) return inside(name);
  if (name === 'default') {
    const assigned = file.getExportAssignment((e) => !e.isExportEquals());
    if (assigned) return reader.evaluate(assigned.getExpression(), new OuterScope(reader, assigned));
    const fn = file.getFunctions().find((f) => f.isDefaultExport());
    if (fn) return { is: 'function', node: fn, scope: new OuterScope(reader, fn) };
  }
  for (const list of file.getExportDeclarations()) {
    const specifier = list.getModuleSpecifierValue();
    const from = specifier === undefined ? undefined : resolveImport(specifier, file);
    const named = list.getNamedExports().find((e) => (e.getAliasNode()?.getText() ?? e.getName()) === name);
    if (named) return specifier === undefined ? inside(named.getName()) : from && exportOf(reader, from, named.getName(), node, seen);
    if (list.isNamespaceExport() && !list.getNamespaceExport() && from) {
      const found = exportOf(reader, from, name, node, seen);
      if (found) return found;
    }
  }
  return undefined;
};

const isExported = (d: Declaration): boolean => {
  const statement = d.is === 'variable' ? d.node.getVariableStatement() : d.node;
  return Node.isExportable(statement) && statement.isExported() && !statement.isDefaultExport();
};

const enumRecord = (node: Node & { getMembers(): { getName(): string; getValue(): string | number | undefined }[] }): Value => {
  const members = new Map(node.getMembers().map((m) => [m.getName(), m.getValue()]));
  return { is: 'record', what: 'an enum', get: (name) => (members.get(name) === undefined ? undefined : plain(members.get(name))) };
};
