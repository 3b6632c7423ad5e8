import type { GridDecl } from './manifest.ts';

/** Sizes of the dims at one step: `V`, `T`, `CV`, `CT`, … */
export type Dims = Readonly<Record<string, number>>;
/** A polynomial of the manifest, ready to be evaluated at every step. */
export type Polynomial = (dims: Dims) => number;

interface Term { factor: number; readonly variables: readonly string[] }

function parseTerms(text: string): Term[] {
  const compact = text.replace(/\s+/g, '');
  return (compact.match(/[+-]?[^+-]+/g) ?? []).map((term) => {
    let factor = term.startsWith('-') ? -1 : 1;
    const variables: string[] = [];
    for (const part of term.replace(/^[+-]/, '').split('*')) {
      const number = /^(\d+)(?:\/(\d+))?$/.exec(part), variable = /^([A-Za-z_]\w*)(?:\^(\d+))?$/.exec(part);
      if (number) factor *= Number(number[1]) / Number(number[2] ?? 1);
      else if (variable) for (let i = 0; i < Number(variable[2] ?? 1); i++) variables.push(variable[1]!);
      else throw new SyntaxError(`'${part}' in '${text}' is neither a number nor a dim.`);
    }
    return { factor, variables };
  });
}

const evaluator = (terms: readonly Term[]): Polynomial => (dims) => {
  let sum = 0;
  for (const { factor, variables } of terms) {
    let product = factor;
    for (const v of variables) product *= dims[v]!;
    sum += product;
  }
  return sum;
};

/**
 * Reads `12*V^2 - 3*T*V + 5`. Coefficients may be fractions (`1/2*T^2`), as counts of pairs have them.
 * @throws SyntaxError when the text is no polynomial.
 */
export const parsePolynomial = (text: string): Polynomial => evaluator(parseTerms(text));

/** The sum of several polynomials, like terms taken together: as quick to evaluate as one of them. */
export function parseSum(texts: Iterable<string>): Polynomial {
  const terms = new Map<string, Term>();
  for (const text of texts)
    for (const term of parseTerms(text)) {
      const variables = [...term.variables].sort(), key = variables.join('*'), old = terms.get(key);
      if (old) old.factor += term.factor; else terms.set(key, { factor: term.factor, variables });
    }
  return evaluator([...terms.values()]);
}

/** Workgroups along one axis. */
export function parseGrid(grid: GridDecl): Polynomial {
  if (typeof grid === 'number') return () => grid;
  const rows = parsePolynomial(grid.ceil);
  return (dims) => Math.ceil(rows(dims) / grid.by);
}
