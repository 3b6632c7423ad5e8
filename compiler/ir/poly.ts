/**
 * Exact polynomials in named dims: sizes of tensors and counts of operations.
 *
 * Coefficients are rationals over bigint, so that n(n+1)/2 stays a polynomial and a count of 10^17 loses no digit.
 * A polynomial is a map from a monomial's key (`T^2*V`, variables sorted) to its coefficient; zero terms are dropped,
 * so equal polynomials have equal keys. A dim that is a fraction of another (`floor(V/2)`, fraction.ts) gets its value from it.
 */
import { floorName, readFloor } from './fraction.ts';

interface Ratio { readonly num: bigint; readonly den: bigint }

const gcd = (a: bigint, b: bigint): bigint => { while (b) [a, b] = [b, a % b]; return a < 0n ? -a : a; };
const ratio = (num: bigint, den: bigint): Ratio => {
  if (den === 1n) return { num, den };
  const g = gcd(num, den) || 1n;
  const s = den < 0n ? -1n : 1n;
  return { num: (s * num) / g, den: (s * den) / g };
};

/** Powers of the variables of one monomial, e.g. `{ T: 2, V: 1 }`. */
export type Powers = Readonly<Record<string, number>>;
const keyOf = (p: Powers): string => Object.keys(p).filter((v) => p[v]).sort().map((v) => (p[v] === 1 ? v : `${v}^${p[v]}`)).join('*');
/** Monomials are few and met over and over: what their keys say, and the keys of their products. */
const knownPowers = new Map<string, Powers>(), knownProducts = new Map<string, string>();
function powersOf(key: string): Powers {
  let powers = knownPowers.get(key);
  if (!powers) {
    const out: Record<string, number> = {};
    if (key) for (const f of key.split('*')) { const [v, e] = f.split('^'); out[v!] = e ? Number(e) : 1; }
    knownPowers.set(key, powers = Object.freeze(out));
  }
  return powers;
}
function productKey(a: string, b: string): string {
  if (!a || !b) return a || b;
  const pair = `${a} ${b}`;
  let key = knownProducts.get(pair);
  if (key === undefined) {
    const p = { ...powersOf(a) };
    for (const [v, e] of Object.entries(powersOf(b))) p[v] = (p[v] ?? 0) + e;
    knownProducts.set(pair, key = keyOf(p));
  }
  return key;
}

export type PolyLike = Poly | number | bigint;
/**
 * Values of dims. A key may also be a product, `P^2*tiles`: what the two come to together where that is no product of theirs, such as
 * the sum of P² over tiles of different size. It stands for those very powers in a monomial.
 */
export type DimSizes = Readonly<Record<string, number | bigint>>;

function sizeOf(name: string, dims: DimSizes): bigint {
  const x = dims[name], floor = x === undefined ? readFloor(name) : undefined;
  if (floor) return floor.share.floorOf(sizeOf(floor.dim, dims));
  if (x === undefined) throw new RangeError(`The size of dim '${name}' is not given; given are: ${Object.keys(dims).join(', ') || 'none'}.`);
  return BigInt(x);
}

const knownProductsOf = new WeakMap<DimSizes, readonly string[]>();
/** The product of dims that has a value of its own and is part of a monomial. */
function productIn(key: string, dims: DimSizes): string | undefined {
  let products = knownProductsOf.get(dims);
  if (!products) knownProductsOf.set(dims, products = Object.keys(dims).filter((d) => d.includes('*')));
  return products.find((product) => Object.entries(powersOf(product)).every(([name, e]) => powersOf(key)[name] === e));
}

/** What stands for a dim once others stand for some. A fraction follows its dim, which only another dim or a number can replace. */
function substituted(name: string, dims: Readonly<Record<string, PolyLike>>): Poly {
  if (name in dims) return Poly.of(dims[name]!);
  const floor = readFloor(name);
  if (!floor || !(floor.dim in dims)) return Poly.dim(name);
  const by = Poly.of(dims[floor.dim]!), [only, ...others] = by.variables;
  if (by.isConstant) return Poly.of(floor.share.floorOf(by.evaluate({})));
  if (others.length || !by.equals(Poly.dim(only!))) throw new RangeError(`'${name}' is a fraction of the dim '${floor.dim}' in whole rows, and '${by}' is no dim.`);
  return Poly.dim(floorName(floor.share, only!));
}

/** Adds a term to terms; one that vanishes is dropped. */
function addTerm(terms: Map<string, Ratio>, key: string, c: Ratio): void {
  const a = terms.get(key), sum = a ? ratio(a.num * c.den + c.num * a.den, a.den * c.den) : c;
  if (sum.num === 0n) terms.delete(key); else terms.set(key, sum);
}

export class Poly {
  private constructor(private readonly terms: ReadonlyMap<string, Ratio>) {}

  static readonly zero = new Poly(new Map());

  /** A constant, or the polynomial itself. */
  static of(x: PolyLike): Poly {
    if (x instanceof Poly) return x;
    if (typeof x === 'number' && !Number.isSafeInteger(x)) throw new RangeError(`A polynomial's constant must be a safe integer, not ${x}.`);
    const n = BigInt(x);
    return n === 0n ? Poly.zero : new Poly(new Map([['', { num: n, den: 1n }]]));
  }

  /** The polynomial of one named dim. Names are identifiers, with a group in parentheses behind them or none: `pairs(m:text>visual)`. */
  static dim(name: string): Poly { return new Poly(new Map([[name, { num: 1n, den: 1n }]])); }

  static sum(xs: Iterable<PolyLike>): Poly {
    const out = new Map<string, Ratio>();
    for (const x of xs) for (const [k, c] of Poly.of(x).terms) addTerm(out, k, c);
    return out.size ? new Poly(out) : Poly.zero;
  }

  add(other: PolyLike): Poly {
    const added = Poly.of(other);
    if (!added.terms.size) return this;
    if (!this.terms.size) return added;
    const out = new Map(this.terms);
    for (const [k, c] of added.terms) addTerm(out, k, c);
    return new Poly(out);
  }
  sub(other: PolyLike): Poly { return this.add(Poly.of(other).mul(-1)); }
  mul(other: PolyLike): Poly {
    const out = new Map<string, Ratio>(), factor = Poly.of(other).terms;
    for (const [ka, a] of this.terms) for (const [kb, b] of factor) addTerm(out, productKey(ka, kb), ratio(a.num * b.num, a.den * b.den));
    return out.size ? new Poly(out) : Poly.zero;
  }
  /** Divides every coefficient by an integer. */
  div(n: number | bigint): Poly {
    return new Poly(new Map([...this.terms].map(([k, a]) => [k, ratio(a.num, a.den * BigInt(n))])));
  }

  /** n(n+1)/2: the pairs of a causal square. */
  triangle(): Poly { return this.mul(this.add(1)).div(2); }

  get variables(): string[] { return [...new Set([...this.terms.keys()].flatMap((k) => Object.keys(powersOf(k))))].sort(); }
  get isConstant(): boolean { return this.variables.length === 0; }
  get isZero(): boolean { return this.terms.size === 0; }
  equals(other: PolyLike): boolean { return this.sub(other).isZero; }

  /** The value as a JavaScript number, if the polynomial is a constant. */
  constant(): number | undefined { return this.isConstant ? Number(this.evaluate({})) : undefined; }

  /** Exact value at integer sizes; throws when a variable has none, or the value is no integer. */
  evaluate(dims: DimSizes): bigint {
    const { num, den } = this.ratioAt(dims);
    if (den !== 1n) throw new RangeError(`${this} is no integer at ${JSON.stringify(dims, (_k, v) => (typeof v === 'bigint' ? String(v) : v))}.`);
    return num;
  }
  /** The integer nearest to the exact value, the greater of two that are as near; throws when a variable has no value. */
  nearest(dims: DimSizes): bigint {
    const { num, den } = this.ratioAt(dims), twice = 2n * num + den, whole = twice / (2n * den);
    return twice < 0n && twice % (2n * den) ? whole - 1n : whole;
  }
  private ratioAt(dims: DimSizes): Ratio {
    let num = 0n, den = 1n;
    for (const [k, c] of this.terms) {
      let v = c.num;
      const together = productIn(k, dims);
      if (together) v *= BigInt(dims[together]!);
      for (const [name, e] of Object.entries(powersOf(k))) if (!together || !(name in powersOf(together))) v *= sizeOf(name, dims) ** BigInt(e);
      num = num * c.den + v * den; den *= c.den;
      const g = gcd(num, den) || 1n; num /= g; den /= g;
    }
    return { num, den };
  }
  /** `evaluate` as a number, for sizes of buffers and grids. */
  at(dims: DimSizes): number { return Number(this.evaluate(dims)); }

  substitute(dims: Readonly<Record<string, PolyLike>>): Poly {
    let out = Poly.zero;
    for (const [k, c] of this.terms) {
      let t: Poly = new Poly(new Map([['', c]]));
      for (const [v, e] of Object.entries(powersOf(k))) for (let i = 0, x = substituted(v, dims); i < e; i++) t = t.mul(x);
      out = out.add(t);
    }
    return out;
  }

  /** Terms by falling degree, for printers: `{ num, den, powers }`. */
  list(): { num: bigint; den: bigint; powers: Powers }[] {
    const degree = (p: Powers): number => Object.values(p).reduce((a, b) => a + b, 0);
    return [...this.terms].map(([k, c]) => ({ ...c, powers: powersOf(k) as Powers }))
      .sort((a, b) => degree(b.powers) - degree(a.powers) || (keyOf(a.powers) < keyOf(b.powers) ? -1 : 1));
  }

  /** `12*V^2 + 3*T*V + 1/2*T`; parses back with `Poly.parse`. */
  toString(): string {
    const parts = this.list().map(({ num, den, powers }) => {
      const k = keyOf(powers), abs = num < 0n ? -num : num;
      const c = den === 1n ? `${abs}` : `${abs}/${den}`;
      return { sign: num < 0n ? '-' : '+', text: !k ? c : c === '1' ? k : `${c}*${k}` };
    });
    if (!parts.length) return '0';
    return parts.map((p, i) => (i ? ` ${p.sign} ${p.text}` : p.sign === '-' ? `-${p.text}` : p.text)).join('');
  }

  static parse(text: string): Poly {
    const src = text.replace(/\s+/g, '');
    if (/\w\s+\w/.test(text) || !/^[+-]?[^+-]+([+-][^+-]+)*$/.test(src)) throw new SyntaxError(`'${text}' is no polynomial; an example is '12*V^2 + 3*T*V + 1/2*T'.`);
    let out = Poly.zero;
    for (const m of src.match(/[+-]?[^+-]+/g) ?? []) {
      let t = Poly.of(1);
      for (const f of m.replace(/^[+-]/, '').split('*')) {
        const n = /^(\d+)(?:\/(\d+))?$/.exec(f), v = /^([A-Za-z_][\w.]*(?:\([\w.>:/]+\))?)(?:\^(\d+))?$/.exec(f);
        if (v && Number(v[2] ?? 1) > 64) throw new SyntaxError(`The power ${v[2]} in '${text}' is too high; 64 is the highest.`);
        if (n && !/^0+$/.test(n[2] ?? '1')) t = t.mul(BigInt(n[1]!)).div(BigInt(n[2] ?? 1));
        else if (v) for (let i = 0; i < Number(v[2] ?? 1); i++) t = t.mul(Poly.dim(v[1]!));
        else throw new SyntaxError(`'${f}' in '${text}' is neither a number nor a dim.`);
      }
      out = m.startsWith('-') ? out.sub(t) : out.add(t);
    }
    return out;
  }
}
