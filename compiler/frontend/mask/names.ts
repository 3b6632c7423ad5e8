/** Which declaration a name means, by the scopes of the source alone. */
import type { ClassDeclaration, EnumDeclaration, FunctionDeclaration, ImportDeclaration, ParameterDeclaration, Statement, VariableDeclaration } from 'ts-morph';
import { Node, VariableDeclarationKind } from 'ts-morph';

export type Declaration =
  | { readonly is: 'variable'; readonly node: VariableDeclaration }
  | { readonly is: 'parameter'; readonly node: ParameterDeclaration }
  | { readonly is: 'function'; readonly node: FunctionDeclaration }
  | { readonly is: 'enum'; readonly node: EnumDeclaration }
  | { readonly is: 'class'; readonly node: ClassDeclaration }
  /** `name` is the exported name: 'default' for a default import, '*' for the whole module. */
  | { readonly is: 'import'; readonly node: ImportDeclaration; readonly name: string };

/** Whether a parameter's or variable's name (or pattern) declares `name`. */
const binds = (target: Node, name: string): boolean => {
  if (Node.isIdentifier(target)) return target.getText() === name;
  if (Node.isObjectBindingPattern(target) || Node.isArrayBindingPattern(target))
    return target.getElements().some((e) => Node.isBindingElement(e) && binds(e.getNameNode(), name));
  return false;
};

const inStatement = (s: Statement, name: string): Declaration | undefined => {
  if (Node.isVariableStatement(s)) {
    const node = s.getDeclarations().find((d) => binds(d.getNameNode(), name));
    return node && { is: 'variable', node };
  }
  if (Node.isFunctionDeclaration(s)) return s.getName() === name && s.hasBody() ? { is: 'function', node: s } : undefined;
  if (Node.isEnumDeclaration(s)) return s.getName() === name ? { is: 'enum', node: s } : undefined;
  if (Node.isClassDeclaration(s)) return s.getName() === name ? { is: 'class', node: s } : undefined;
  if (!Node.isImportDeclaration(s)) return undefined;
  if (s.getDefaultImport()?.getText() === name) return { is: 'import', node: s, name: 'default' };
  if (s.getNamespaceImport()?.getText() === name) return { is: 'import', node: s, name: '*' };
  const named = s.getNamedImports().find((i) => (i.getAliasNode()?.getText() ?? i.getName()) === name);
  return named && { is: 'import', node: s, name: named.getName() };
};

/** The declaration among the statements of one scope. */
export const declaredIn = (statements: readonly Statement[], name: string): Declaration | undefined => {
  for (const s of statements) { const found = inStatement(s, name); if (found) return found; }
  return undefined;
};

/** The declaration that `name` refers to at `from`, or undefined if it is declared nowhere around it. */
export const declarationOf = (name: string, from: Node): Declaration | undefined => {
  for (let scope = from.getParent(); scope; scope = scope.getParent()) {
    if (Node.isSourceFile(scope) || Node.isBlock(scope) || Node.isModuleBlock(scope) || Node.isCaseClause(scope) || Node.isDefaultClause(scope)) {
      const found = declaredIn(scope.getStatements(), name);
      if (found) return found;
    } else if (Node.isParametered(scope)) {
      const node = scope.getParameters().find((p) => binds(p.getNameNode(), name));
      if (node) return { is: 'parameter', node };
    } else if (Node.isForStatement(scope) || Node.isForOfStatement(scope) || Node.isForInStatement(scope)) {
      const list = scope.getInitializer();
      const node = Node.isVariableDeclarationList(list) ? list.getDeclarations().find((d) => binds(d.getNameNode(), name)) : undefined;
      if (node) return { is: 'variable', node };
    }
  }
  return undefined;
};

export const isConst = (d: VariableDeclaration): boolean => {
  const list = d.getParent();
  return Node.isVariableDeclarationList(list) && list.getDeclarationKind() === VariableDeclarationKind.Const;
};

/** Whether the variable belongs to the module, not to some call or turn of a loop. */
export const isTopLevel = (d: VariableDeclaration): boolean => Node.isSourceFile(d.getVariableStatement()?.getParent());

/** Where a parameter is given another value, if anywhere: then what it holds now says nothing. */
export const reassignmentOf = (p: ParameterDeclaration, name: string): Node | undefined =>
  p.getParent().getDescendants().find((n) =>
    (Node.isBinaryExpression(n) && /^([+\-*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)?=$/.test(n.getOperatorToken().getText()) && n.getLeft().getText() === name) ||
    (Node.isPostfixUnaryExpression(n) && n.getOperand().getText() === name) ||
    (Node.isPrefixUnaryExpression(n) && ['++', '--'].some((op) => n.getText().startsWith(op)) && n.getOperand().getText() === name));
