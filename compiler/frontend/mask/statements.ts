/** Function bodies: constants, choices and returns, as one expression. */
import type { Expression, Statement, SwitchStatement } from 'ts-morph';
import { Node, VariableDeclarationKind } from 'ts-morph';
import { binaryValues, choose } from './operators.ts';
import { bindPattern } from './patterns.ts';
import { LocalScope } from './scope.ts';
import { MaskError, unsupported } from './source.ts';
import type { Reader, Scope, Value } from './values.ts';
import { asBoolean } from './values.ts';

/** What comes after a statement: the value of the function from there on; undefined if it ends without one. */
type Rest = () => Value | undefined;

/** The value that the statements return, or that of `rest` where they do not. */
export const runStatements = (reader: Reader, statements: readonly Statement[], scope: Scope, rest: Rest): Value | undefined => {
  const local = new LocalScope(scope);
  for (const s of statements) if (Node.isFunctionDeclaration(s) && s.getName()) local.bind(s.getName()!, { is: 'function', node: s, scope: local });
  const from = (i: number): Value | undefined => {
    const statement = statements[i];
    return statement ? runStatement(reader, statement, local, () => from(i + 1)) : rest();
  };
  return from(0);
};

const runStatement = (reader: Reader, s: Statement, scope: LocalScope, rest: Rest): Value | undefined => {
  if (Node.isReturnStatement(s)) {
    const value = s.getExpression();
    return value ? reader.evaluate(value, scope) : unsupported(s, 'A mask always returns a value.');
  }
  if (Node.isVariableStatement(s)) {
    for (const d of s.getDeclarations()) {
      const value = d.getInitializer();
      if (!value || s.getDeclarationKind() === VariableDeclarationKind.Var) return unsupported(d, 'A mask declares constants: const name = value.');
      bindPattern(reader, d.getNameNode(), reader.evaluate(value, scope), scope, scope);
    }
    return rest();
  }
  if (Node.isIfStatement(s)) {
    const no = s.getElseStatement();
    return branch(reader, s.getExpression(), scope,
      () => runStatements(reader, bodyOf(s.getThenStatement()), scope, rest),
      () => (no ? runStatements(reader, bodyOf(no), scope, rest) : rest()));
  }
  if (Node.isSwitchStatement(s)) return runSwitch(reader, s, scope, rest);
  if (Node.isBlock(s)) return runStatements(reader, s.getStatements(), scope, rest);
  if (Node.isFunctionDeclaration(s) || Node.isEmptyStatement(s) || Node.isTypeAliasDeclaration(s) || Node.isInterfaceDeclaration(s)) return rest();
  if (Node.isExpressionStatement(s)) {
    const e = s.getExpression();
    if (Node.isStringLiteral(e)) return rest(); // 'use strict'
    reader.evaluate(e, scope); // which says what is wrong with an assignment, for example
    return unsupported(s, 'A statement for its effect has no place in a mask, which only computes a value.');
  }
  return unsupported(s, `A mask cannot contain ${describeStatement(s)}.`);
};

const bodyOf = (s: Statement): readonly Statement[] => (Node.isBlock(s) ? s.getStatements() : [s]);

/** `if (test) yes(); else no();` */
const branch = (reader: Reader, test: Expression, scope: Scope, yes: Rest, no: Rest): Value | undefined => {
  const value = reader.evaluate(test, scope);
  if (value.is === 'plain') return value.value ? yes() : no();
  const condition = asBoolean(value, reader.kinds, test);
  const [a, b] = [yes(), no()];
  if (!a || !b) throw new MaskError(test, `Where this is ${a ? 'false' : 'true'}, the function ends without returning a value.`);
  return choose(reader, condition, a, b, test);
};

/** A switch as a chain of ifs: each case returns, or is empty and shares the next one's statements. */
const runSwitch = (reader: Reader, s: SwitchStatement, scope: LocalScope, rest: Rest): Value | undefined => {
  const subject = reader.evaluate(s.getExpression(), scope);
  const clauses = s.getClauses();
  const statementsFrom = (i: number): readonly Statement[] => {
    const own = clauses[i]?.getStatements() ?? [];
    return own.length === 0 && i < clauses.length ? statementsFrom(i + 1) : own;
  };
  const run = (i: number): Value | undefined => {
    const statements = statementsFrom(i);
    const broken = statements.findIndex((x) => Node.isBreakStatement(x));
    return runStatements(reader, broken < 0 ? statements : statements.slice(0, broken), scope, broken < 0 ? () => unsupported(clauses[i]!, 'Each case of a switch in a mask ends with return or break.') : rest);
  };
  const byDefault = clauses.findIndex((c) => Node.isDefaultClause(c));
  const from = (i: number): Value | undefined => {
    const clause = clauses[i];
    if (!clause) return byDefault < 0 ? rest() : run(byDefault);
    if (!Node.isCaseClause(clause)) return from(i + 1);
    const label = clause.getExpression();
    const test = binaryValues(reader, '===', subject, reader.evaluate(label, scope), label);
    if (test.is === 'plain') return test.value ? run(i) : from(i + 1);
    const [a, b] = [run(i), from(i + 1)];
    if (!a || !b) throw new MaskError(label, `In ${a ? 'another' : 'this'} case the function ends without returning a value.`);
    return choose(reader, asBoolean(test, reader.kinds, label), a, b, label);
  };
  return from(0);
};

const describeStatement = (s: Statement): string => {
  if (Node.isIterationStatement(s)) return 'a loop';
  if (Node.isThrowStatement(s)) return 'throw';
  if (Node.isTryStatement(s)) return 'try';
  if (Node.isClassDeclaration(s)) return 'a class';
  return `the statement '${s.getText().split('\n')[0]!.slice(0, 40)}'`;
};
