import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Tokenizer } from '../../../runtime/tokenizer.ts';

const fixtures = new URL('../../fixtures/', import.meta.url).pathname;
const json = (path: string) => JSON.parse(readFileSync(fixtures + path, 'utf8')) as Record<string, unknown>;
const FOLDERS = ['llava-clip-llama-a', 'llava-siglip-qwen2-a', 'llama-gqa-odd-a'];
const load = (folder: string) => new Tokenizer(json(`${folder}/tokenizer.json`), json(`${folder}/tokenizer_config.json`));

/** A word-level tokenizer as the shapes checkpoint has it. */
const WORDS = ['<unk>', '<s>', '</s>', '<image>', 'user', 'assistant', ':', '?', '.', 'a', 'red', 'circle'];
const wordLevel = {
  added_tokens: [0, 1, 2, 3].map((id) => ({ id, content: WORDS[id], single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
  normalizer: { type: 'Lowercase' }, pre_tokenizer: { type: 'Whitespace' }, decoder: null,
  post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } } },
  model: { type: 'WordLevel', vocab: Object.fromEntries(WORDS.map((w, i) => [w, i])), unk_token: '<unk>' },
}; // prettier-ignore

describe.each(FOLDERS)('%s', (folder) => {
  const tokenizer = load(folder);
  const lines = json(`${folder}/golden_tokenizer.json`) as unknown as { text: string; add_special_tokens: boolean; ids: number[]; tokens: string[]; decoded: string; decoded_skip_special: string }[];

  test.each(lines)('$text, special tokens: $add_special_tokens', (line) => {
    const ids = tokenizer.encode(line.text, { addSpecialTokens: line.add_special_tokens });
    expect(ids).toEqual(line.ids);
    expect(ids.map((id) => tokenizer.tokenOf(id))).toEqual(line.tokens);
    expect(tokenizer.decode(line.ids, { skipSpecialTokens: false })).toBe(line.decoded);
    expect(tokenizer.decode(line.ids)).toBe(line.decoded_skip_special);
  });

  test('what the models generated decodes as in the golden file', () => {
    const cases = json(`${folder}/golden.json`).cases as { variants: Record<string, { generated: number[]; generated_text?: string }> }[];
    let seen = 0;
    for (const { variants } of cases) {
      for (const { generated, generated_text: text } of Object.values(variants)) {
        if (text === undefined) continue;
        const all = [tokenizer.decode(generated), tokenizer.decode(generated, { skipSpecialTokens: false })];
        expect(all).toContain(text);
        seen++;
      }
    }
    expect(seen).toBeGreaterThan(0);
  });

  test('pieces of a stream join to the whole, never within a character', () => {
    const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 12 }), fc.constantFrom(...lines.map((l) => l.text)));
    fc.assert(
      fc.property(text, fc.boolean(), (t, skipSpecialTokens) => {
        const ids = tokenizer.encode(t);
        const stream = tokenizer.stream({ skipSpecialTokens });
        const pieces = ids.map((id) => stream.push(id));
        pieces.push(stream.flush());
        expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
        if (!t.includes('\ufffd')) expect(pieces.some((p) => p.includes('\ufffd'))).toBe(false);
      }),
    );
  });

  test('any ids stream to what they decode to, broken characters included', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(tokenizer.size + 3), { maxLength: 24 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const stream = tokenizer.stream({ skipSpecialTokens });
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        const joined = ids.map((id) => stream.push(id)).join('') + stream.flush();
        if (!(tokenizer.idOf('<0x00>') !== undefined && whole.includes('\ufffd'))) expect(joined).toBe(whole);
      }),
      { numRuns: 400 },
    );
  });
});

describe('byte fallback', () => {
  const tokenizer = load('llava-clip-llama-a');
  const byte = (...bytes: number[]) => bytes.map((b) => tokenizer.idOf(`<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)!);
  const x = tokenizer.encode('x', { addSpecialTokens: false });

  test('a run that is not UTF-8 is one \ufffd a byte, as in Rust', () => {
    expect(tokenizer.decode([...byte(0xe6, 0xbc, 0xa2), ...x])).toBe('漢 x');
    expect(tokenizer.decode([...byte(0xe6, 0xbc, 0xa2, 0xf0), ...x])).toBe('\ufffd\ufffd\ufffd\ufffd x');
    expect(tokenizer.decode(byte(0xef, 0xbb, 0xbf, 0x41))).toBe('\ufeffA');
  });

  test('a stream gives each character when it is whole, and goes on after a broken one', () => {
    const stream = tokenizer.stream();
    expect([...byte(0xe6, 0xbc, 0xa2, 0xf0, 0x9f, 0x99, 0x82, 0xf0), ...x].map((id) => stream.push(id))).toEqual(['', '', '漢', '', '', '', '🙂', '', '\ufffd ', 'x']);
    stream.push(byte(0xf0)[0]!);
    expect(stream.flush()).toBe('\ufffd');
  });
});

describe('word level', () => {
  const tokenizer = new Tokenizer(wordLevel, { bos_token: { content: '<s>' }, eos_token: '</s>' });
  test('encodes, with unknown words, and decodes with spaces', () => {
    expect(tokenizer.encode('User : <image> a RED zebra ? assistant :')).toEqual([1, 4, 6, 3, 9, 10, 0, 7, 5, 6]);
    expect(tokenizer.decode([9, 10, 11, 8, 2])).toBe('a red circle .');
    expect(tokenizer.decode([9, 2], { skipSpecialTokens: false })).toBe('a </s>');
    expect(tokenizer.token('bos_token')).toBe('<s>');
    expect(tokenizer.idOf('<image>')).toBe(3);
    expect([...tokenizer.specialIds]).toEqual([0, 1, 2, 3]);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([999])).toBe('');
  });

  test('streams word by word', () => {
    const stream = tokenizer.stream();
    expect([9, 10, 2, 11, 8].map((id) => stream.push(id))).toEqual(['a', ' red', '', ' circle', ' .']);
  });

  test('cleans up spaces only where the config says so, in a stream too', () => {
    const cleaning = new Tokenizer(wordLevel, { clean_up_tokenization_spaces: true });
    expect(cleaning.decode([9, 10, 11, 8])).toBe('a red circle.');
    fc.assert(
      fc.property(fc.array(fc.nat(WORDS.length - 1), { maxLength: 20 }), (ids) => {
        const stream = cleaning.stream();
        expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(cleaning.decode(ids));
      }),
    );
  });
});

describe('files that cannot be used', () => {
  test.each<[unknown, RegExp]>([
    [null, /has no "model"/],
    [{ model: { type: 'Nonsense' } }, /t\.json cannot be used/],
    [{ ...wordLevel, pre_tokenizer: { type: 'Nonsense' } }, /Nonsense/],
  ])('%#', (file, message) => {
    expect(() => new Tokenizer(file, {}, 't.json')).toThrow(expect.objectContaining({ code: 'tokenizer', message: expect.stringMatching(message) }));
  });

  test('text that the vocabulary cannot write', () => {
    const closed = new Tokenizer({ ...wordLevel, model: { type: 'WordLevel', vocab: wordLevel.model.vocab } });
    expect(() => closed.encode('a zebra')).toThrow(/no token for "zebra"/);
  });
});
