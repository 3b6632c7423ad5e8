/** What a progress bar says, and how sizes are read from the command line. */
import { expect, test } from 'vitest';
import { byteCount } from '../../compiler/cli/output.ts';
import { Rate, timeText } from '../../compiler/cli/progress.ts';

test('time left', () => {
  expect([0, 0.2, 9, 59.5, 75, 3599.1, 3725, Infinity, NaN].map(timeText)).toEqual(['0:00', '0:01', '0:09', '1:00', '1:15', '1:00:00', '1:02:05', '?', '?']);
});
test('a rate is that of the last seconds', () => {
  const rate = new Rate();
  expect(rate.perSecond).toBe(0);
  for (let s = 0; s <= 20; s++) rate.note(s <= 10 ? 100 * s : 1000 + 10 * (s - 10), 1000 * s);
  expect(rate.perSecond).toBe(10);
});
test('bytes', () => {
  const read = byteCount('--binding-limit');
  expect(['134217728', '128MiB', '1GB', '1.5 KiB', '20 kb', '7B'].map(read)).toEqual([134217728, 134217728, 1e9, 1536, 20000, 7]);
  for (const text of ['', '-1', '0', '1.5', '1TB', 'MiB', '1e9', '0.1KiB']) expect(() => read(text), text).toThrow(`--binding-limit must be a number of bytes, as in 134217728, 128MiB or 1GB, not '${text}'.`);
});
