/**
 * Resizing 8-bit pictures with exactly Pillow's arithmetic, because that is what the checkpoints' image processors were
 * trained with: one grey level off moves `pixel_values` by 0.015. No npm library reproduces it (sharp and canvas resample
 * in other arithmetic, with other filter supports), so it is written here after `Resample.c` of Pillow (MIT-CMU licence,
 * https://github.com/python-pillow/Pillow/blob/9.4.0/src/libImaging/Resample.c): two passes, columns first, coefficients
 * rounded to 22 bits, the picture between the passes rounded to 8 bits.
 */

/** Pillow's numbers for its filters, as `resample` in a preprocessor configuration. */
export const Resample = { nearest: 0, lanczos: 1, bilinear: 2, bicubic: 3, box: 4, hamming: 5 } as const;

/** Interleaved 8-bit samples, row-major: `data.length === width * height * channels`. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** The part of the resized picture that is wanted: [left, left + width) by [top, top + height), inside it. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

interface Filter {
  /** Half the width of the filter in source pixels, when it does not shrink the picture. */
  readonly support: number;
  weight(x: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const FILTERS: Readonly<Record<number, Filter>> = {
  [Resample.lanczos]: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  [Resample.bilinear]: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  [Resample.bicubic]: {
    support: 2,
    weight: (at) => {
      const a = -0.5;
      const x = Math.abs(at);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  [Resample.box]: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  [Resample.hamming]: {
    support: 1,
    weight: (at) => {
      const x = Math.abs(at);
      if (x === 0) return 1;
      return x < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI)) : 0;
    },
  },
};

/** Is this one of the filters that `resize` knows? */
export function isResample(filter: number): boolean {
  return filter === Resample.nearest || filter in FILTERS;
}

/** 32 bits less 8 for the sample and 2 of head room: the fixed point of Pillow's coefficients. */
const PRECISION_BITS = 22;

interface Taps {
  /** First source sample of each output sample. */
  readonly first: Int32Array;
  /** Number of source samples of each output sample. */
  readonly count: Int32Array;
  /** Coefficients in fixed point, `stride` a sample. */
  readonly weights: Int32Array;
  readonly stride: number;
}

/** Coefficients of the output samples [from, from + length) when `size` samples become `outSize`. */
function taps(filter: Filter, size: number, outSize: number, from: number, length: number): Taps {
  const scale = size / outSize;
  const filterScale = Math.max(scale, 1); // when shrinking, the filter widens: that is the antialiasing
  const support = filter.support * filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const inverse = 1 / filterScale;
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const weights = new Int32Array(length * stride);
  const exact = new Float64Array(stride);
  for (let i = 0; i < length; i++) {
    const center = (from + i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(center - support + 0.5));
    const n = Math.min(size, Math.trunc(center + support + 0.5)) - low;
    let sum = 0;
    for (let x = 0; x < n; x++) {
      const w = filter.weight((x + low - center + 0.5) * inverse);
      exact[x] = w;
      sum += w;
    }
    for (let x = 0; x < n; x++) {
      const w = (sum === 0 ? exact[x]! : exact[x]! / sum) * (1 << PRECISION_BITS);
      weights[i * stride + x] = Math.trunc(w < 0 ? w - 0.5 : w + 0.5);
    }
    first[i] = low;
    count[i] = n;
  }
  return { first, count, weights, stride };
}

/**
 * `source` resized to `width` by `height`, or only the part `window` of that (for a centre crop: the rest is not computed).
 * Equal to Pillow's `Image.resize((width, height), filter)` sample for sample. Sizes are positive integers.
 */
export function resize(source: Pixels, width: number, height: number, filter: number, window: Window = { left: 0, top: 0, width, height }): Pixels {
  if (filter === Resample.nearest) return nearest(source, width, height, window);
  const chosen = FILTERS[filter];
  if (!chosen) throw new RangeError(`unknown resampling filter ${filter}`);
  // A pass that changes nothing is left out, as in Pillow.
  const sameWidth = width === source.width;
  const sameHeight = height === source.height;
  const rows = sameHeight ? undefined : taps(chosen, source.height, height, window.top, window.height);
  // Only the source rows that the vertical pass will read go through the horizontal one.
  const top = rows ? rows.first[0]! : window.top;
  const last = window.height - 1;
  const bottom = rows ? rows.first[last]! + rows.count[last]! : window.top + window.height;
  const between = sameWidth
    ? crop(source, { left: window.left, top, width: window.width, height: bottom - top })
    : horizontal(source, taps(chosen, source.width, width, window.left, window.width), top, bottom - top);
  return rows ? vertical(between, rows, top) : between;
}

function horizontal({ width, channels, data }: Pixels, { first, count, weights, stride }: Taps, top: number, height: number): Pixels {
  const outWidth = first.length;
  const out = new Uint8ClampedArray(outWidth * height * channels);
  for (let y = 0, at = 0; y < height; y++) {
    const row = (top + y) * width;
    for (let x = 0; x < outWidth; x++) {
      const n = count[x]!;
      const start = (row + first[x]!) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let k = 0, i = start + c; k < n; k++, i += channels) sum += data[i]! * weights[x * stride + k]!;
        out[at++] = sum >> PRECISION_BITS; // a clamped array stores Pillow's clip8
      }
    }
  }
  return { width: outWidth, height, channels, data: out };
}

function vertical({ width, channels, data }: Pixels, { first, count, weights, stride }: Taps, top: number): Pixels {
  const height = first.length;
  const rowBytes = width * channels;
  const out = new Uint8ClampedArray(height * rowBytes);
  for (let y = 0, at = 0; y < height; y++) {
    const n = count[y]!;
    const start = (first[y]! - top) * rowBytes;
    for (let x = 0; x < rowBytes; x++) {
      let sum = 1 << (PRECISION_BITS - 1);
      for (let k = 0, i = start + x; k < n; k++, i += rowBytes) sum += data[i]! * weights[y * stride + k]!;
      out[at++] = sum >> PRECISION_BITS;
    }
  }
  return { width, height, channels, data: out };
}

function nearest({ width, height, channels, data }: Pixels, outWidth: number, outHeight: number, window: Window): Pixels {
  const columns = centres(width, outWidth, window.left, window.width);
  const rows = centres(height, outHeight, window.top, window.height);
  const out = new Uint8ClampedArray(window.width * window.height * channels);
  let at = 0;
  for (const y of rows) {
    for (const x of columns) for (let c = 0, i = (y * width + x) * channels; c < channels; c++) out[at++] = data[i + c]!;
  }
  return { width: window.width, height: window.height, channels, data: out };
}

/** Which source sample lies under each output centre. Pillow adds step to step, so the rounding errors must add up too. */
function centres(size: number, outSize: number, from: number, length: number): Int32Array {
  const step = size / outSize;
  const out = new Int32Array(length);
  for (let i = 0, at = step * 0.5; i < from + length; i++, at += step) if (i >= from) out[i - from] = at;
  return out;
}

/** The part of a picture inside `window`. */
export function crop(source: Pixels, window: Window): Pixels {
  const { channels } = source;
  const out = new Uint8ClampedArray(window.width * window.height * channels);
  for (let y = 0; y < window.height; y++) {
    const from = ((window.top + y) * source.width + window.left) * channels;
    out.set(source.data.subarray(from, from + window.width * channels), y * window.width * channels);
  }
  return { width: window.width, height: window.height, channels, data: out };
}
