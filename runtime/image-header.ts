/**
 * What the head of a picture's file says, before anything is decoded: format, size, whether it moves, which way is up, and whether
 * the file is whole. Node and browsers ask the same, so that they refuse the same files for the same reasons.
 *
 * PNG: W3C PNG (third edition). JPEG: ITU T.81, annex B. WebP: RFC 9649. Orientation: Exif 2.32, tag 0x0112.
 */
import { RuntimeError } from './errors.ts';
import { checkImageSize } from './image.ts';

export interface ImageHeader {
  readonly format: 'PNG' | 'JPEG' | 'WebP';
  /** As stored, before any turn. */
  readonly width: number;
  readonly height: number;
  /** Of Exif: 1 upright, 2 to 8 mirrored and turned. */
  readonly orientation: number;
  /** Bytes of the orientation's value in the file, where it has one. */
  readonly orientationAt?: { readonly offset: number; readonly littleEndian: boolean };
}

/**
 * Reads the head of a PNG, JPEG or WebP file.
 * @throws RuntimeError `image` for another kind of file, an animation, one that is cut short, and sizes that no picture should have
 */
export function readImageHeader(bytes: Uint8Array, label = 'The image'): ImageHeader {
  const file = new Head(bytes, label);
  if (bytes.byteLength === 0) throw new RuntimeError('image', `${label} is empty (0 bytes). Choose a PNG, JPEG or WebP picture.`);
  if (file.text(1, 3) === 'PNG' && file.u8(0) === 0x89) return png(file);
  if (file.u16(0) === 0xffd8) return jpeg(file);
  if (file.text(0, 4) === 'RIFF' && file.text(8, 4) === 'WEBP') return webp(file);
  throw file.no('it is no PNG, JPEG or WebP file');
}

class Head {
  private readonly view: DataView;
  readonly size: number;
  constructor(readonly bytes: Uint8Array, private readonly label: string) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.size = bytes.byteLength;
  }
  no(why: string): RuntimeError { return new RuntimeError('image', `${this.label} cannot be decoded as a picture (${why}). Choose a PNG, JPEG or WebP picture that an image viewer opens.`); }
  cutShort(): RuntimeError { return this.no(`it is cut short: its ${this.size} bytes end before the picture does`); }
  moves(frames = 'several'): RuntimeError { return new RuntimeError('image', `${this.label} is an animation of ${frames} frames, and a still picture was expected. Save one frame as a picture.`); }
  /** Numbers beyond the end of the file are 0: whoever reads on finds that it ends. */
  u8(at: number): number { return at < this.size ? this.view.getUint8(at) : 0; }
  u16(at: number, little = false): number { return at + 2 <= this.size ? this.view.getUint16(at, little) : 0; }
  u32(at: number, little = false): number { return at + 4 <= this.size ? this.view.getUint32(at, little) : 0; }
  text(at: number, length: number): string { return String.fromCharCode(...this.bytes.subarray(at, at + length)); }
  /** The header of a still picture. */
  still(format: ImageHeader['format'], width: number, height: number, exif?: number): ImageHeader {
    checkImageSize(width, height, this.label);
    return { format, width, height, ...(exif === undefined ? { orientation: 1 } : orientationOf(this, exif)) };
  }
}

function png(file: Head): ImageHeader {
  let exif: number | undefined, at = 8;
  for (; ; ) {
    const length = file.u32(at), type = file.text(at + 4, 4);
    if (at + 12 + length > file.size) throw file.cutShort();
    if (at === 8 && type !== 'IHDR') throw file.no('its PNG data does not begin with a size');
    if (type === 'acTL' && file.u32(at + 8) > 1) throw file.moves(String(file.u32(at + 8)));
    if (type === 'eXIf') exif ??= at + 8;
    // A size that is too large is told whatever follows.
    if (type === 'IHDR') file.still('PNG', file.u32(at + 8), file.u32(at + 12));
    at += 12 + length;
    if (type === 'IEND') return file.still('PNG', file.u32(16), file.u32(20), exif);
  }
}

/** Markers without a segment: TEM, restarts, start and end. */
const bare = (marker: number): boolean => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd9);
/** Frames: C0 to CF but for tables of codes, extensions, and conditioning. */
const isFrame = (marker: number): boolean => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);

function jpeg(file: Head): ImageHeader {
  let width = 0, height = 0, exif: number | undefined, at = 2;
  while (at < file.size) {
    if (file.u8(at) !== 0xff) throw file.no('a marker is missing in its JPEG data');
    const marker = file.u8(at + 1), length = bare(marker) ? 0 : file.u16(at + 2);
    if (marker === 0xff) { at++; continue; }
    if (marker === 0xd9) {
      if (!width) throw file.no('its JPEG data has no size');
      return file.still('JPEG', width, height, exif);
    }
    if (at + 2 + length > file.size || (!bare(marker) && at + 4 > file.size)) throw file.cutShort();
    if (isFrame(marker)) { height = file.u16(at + 5); width = file.u16(at + 7); file.still('JPEG', width, height); }
    if (marker === 0xe1 && file.text(at + 4, 4) === 'Exif') exif ??= at + 10;
    at += 2 + length;
    // Codes follow a start of scan, up to the next marker that is none of theirs.
    if (marker === 0xda) while (at < file.size && !(file.u8(at) === 0xff && file.u8(at + 1) !== 0 && !(file.u8(at + 1) >= 0xd0 && file.u8(at + 1) <= 0xd7))) {
      const next = file.bytes.indexOf(0xff, at + 1);
      at = next < 0 ? file.size : next;
    }
  }
  throw file.cutShort();
}

function webp(file: Head): ImageHeader {
  const end = 8 + file.u32(4, true);
  if (end > file.size) throw file.cutShort();
  let size: [number, number] | undefined, exif: number | undefined, hasPicture = false;
  for (let at = 12; at + 8 <= end;) {
    const type = file.text(at, 4), length = file.u32(at + 4, true), data = at + 8;
    if (data + length > file.size) throw file.cutShort();
    if (type === 'VP8X') {
      if (file.u8(data) & 2) throw file.moves();
      size = [1 + (file.u32(data + 4, true) & 0xffffff), 1 + (file.u32(data + 7, true) & 0xffffff)];
    } else if (type === 'VP8 ') { size ??= [file.u16(data + 6, true) & 0x3fff, file.u16(data + 8, true) & 0x3fff]; hasPicture = true; }
    else if (type === 'VP8L') { const bits = file.u32(data + 1, true); size ??= [1 + (bits & 0x3fff), 1 + ((bits >>> 14) & 0x3fff)]; hasPicture = true; }
    else if (type === 'EXIF') exif ??= data + (file.text(data, 4) === 'Exif' ? 6 : 0);
    at = data + length + (length % 2);
  }
  if (!size || !hasPicture) throw file.no('its WebP data holds no picture');
  return file.still('WebP', ...size, exif);
}

/** The orientation in the first directory of a TIFF block that begins at `tiff`. */
function orientationOf(file: Head, tiff: number): Pick<ImageHeader, 'orientation' | 'orientationAt'> {
  const littleEndian = file.text(tiff, 2) === 'II', first = tiff + file.u32(tiff + 4, littleEndian);
  if (file.u16(tiff + 2, littleEndian) !== 42) return { orientation: 1 };
  for (let i = 0; i < file.u16(first, littleEndian); i++) {
    const entry = first + 2 + 12 * i, value = file.u16(entry + 8, littleEndian);
    if (file.u16(entry, littleEndian) === 0x0112 && value >= 1 && value <= 8) return { orientation: value, orientationAt: { offset: entry + 8, littleEndian } };
  }
  return { orientation: 1 };
}
