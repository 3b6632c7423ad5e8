/**
 * Exact polynomials in named dims: sizes of tensors and counts of operations.
 *
 * Coefficients are rationals over bigint, so that n(n+1)/2 stays a polynomial and a count of 10^17 loses no digit.
 * A polynomial is a map from a monomial's key (`T^2*V`, variables sorted) to its coefficient; zero terms are dropped,
 * so equal polynomials have equal keys.
 */
interface Ratio { readonly num: bigint; readonly den: bigint }

const gcd = (a: bigint, b: bigint): bigint => { while (b) [a, b] = [b, a % b]; return a < 0n ? -a : a; };
const ratio = (num: bigint, den: bigint): Ratio => {
  const g = gcd(num, den) || 1n;
  const s = den < 0n ? -1n : 1n;
  return { num: (s * num) / g, den: (s * den) / g };
};

/** Powers of the variables of one monomial, e.g. `{ T: 2, V: 1 }`. */
export type Powers = Readonly<Record<string, number>>;
const keyOf = (p: Powers): string => Object.keys(p).filter((v) => p[v]).sort().map((v) => (p[v] === 1 ? v : `${v}^${p[v]}`)).join('*');
const powersOf = (key: string): Record<string, number> => {
  const out: Record<string, number> = {};
  if (key) for (const f of key.split('*')) { const [v, e] = f.split('^'); out[v!] = e ? Number(e) : 1; }
  return out;
};

export type PolyLike = Poly | number | bigint;

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

  /** The polynomial of one named dim. Names are identifiers, or any text without `*`, `^`, `+` and spaces. */
  static dim(name: string): Poly { return new Poly(new Map([[name, { num: 1n, den: 1n }]])); }

  static sum(xs: Iterable<PolyLike>): Poly { let s = Poly.zero; for (const x of xs) s = s.add(x); return s; }

  add(other: PolyLike): Poly {
    const out = new Map(this.terms);
    for (const [k, b] of Poly.of(other).terms) {
      const a = out.get(k);
      const c = a ? ratio(a.num * b.den + b.num * a.den, a.den * b.den) : b;
      if (c.num === 0n) out.delete(k); else out.set(k, c);
    }
    return new Poly(out);
  }
  sub(other: PolyLike): Poly { return this.add(Poly.of(other).mul(-1)); }
  mul(other: PolyLike): Poly {
    const out = new Map<string, Ratio>();
    for (const [ka, a] of this.terms) for (const [kb, b] of Poly.of(other).terms) {
      const p = powersOf(ka);
      for (const [v, e] of Object.entries(powersOf(kb))) p[v] = (p[v] ?? 0) + e;
      const k = keyOf(p);
      const o = out.get(k);
      const c = o ? ratio(o.num * a.den * b.den + a.num * b.num * o.den, o.den * a.den * b.den) : ratio(a.num * b.num, a.den * b.den);
      if (c.num === 0n) out.delete(k); else out.set(k, c);
    }
    return new Poly(out);
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
  evaluate(dims: Readonly<Record<string, number | bigint>>): bigint {
    let num = 0n, den = 1n;
    for (const [k, c] of this.terms) {
      let v = c.num;
      for (const [name, e] of Object.entries(powersOf(k))) {
        const x = dims[name];
        if (x === undefined) throw new RangeError(`The size of dim '${name}' is not given; given are: ${Object.keys(dims).join(', ') || 'none'}.`);
        v *= BigInt(x) ** BigInt(e);
      }
      num = num * c.den + v * den; den *= c.den;
      const g = gcd(num, den) || 1n; num /= g; den /= g;
    }
    if (den !== 1n) throw new RangeError(`${this} is no integer at ${JSON.stringify(dims, (_k, v) => (typeof v === 'bigint' ? String(v) : v))}.`);
    return num;
  }
  /** `evaluate` as a number, for sizes of buffers and grids. */
  at(dims: Readonly<Record<string, number | bigint>>): number { return Number(this.evaluate(dims)); }

  substitute(dims: Readonly<Record<string, PolyLike>>): Poly {
    let out = Poly.zero;
    for (const [k, c] of this.terms) {
      let t: Poly = new Poly(new Map([['', c]]));
      for (const [v, e] of Object.entries(powersOf(k))) for (let i = 0; i < e; i++) t = t.mul(v in dims ? dims[v]! : Poly.dim(v));
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
        const n = /^(\d+)(?:\/(\d+))?$/.exec(f), v = /^([A-Za-z_][\w.()>,:]*)(?:\^(\d+))?$/.exec(f);
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
