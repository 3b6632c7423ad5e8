import { expect, test } from 'vitest';
import { joinRows } from '../../passes/join-rows.ts';
import { after } from '../support/golden.ts';

const graph = (lines: string, result: string): string => `graph g {
  sequence tokens(media visual: V, text: T)
  input x: f32[visual+text, 4] at prompt
  input y: f32[visual+text, 4] at prompt
${lines.trim().split('\n').map((l) => `  ${l.trim()}`).join('\n')}
  return out = ${result}
}`;

test('rows that were cut from one value and put together again are that value', () => {
  expect(after([joinRows], graph(`
    %0 = rows %x {rows = "visual"}
    %1 = rows %x {rows = "text"}
    %2 = merge %0, %1
    %3 = silu %2`, '%3'))).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(media visual: V, text: T)
        input x: f32[visual+text, 4] at prompt

        %0 = silu %x : f32[visual+text, 4]
        return out = %0
      }"
    `);
});

test('rotations of an image by place and of text by position are one, by both', () => {
  expect(after([joinRows], graph(`
    %0 = rows %x {rows = "visual"}
    %1 = row_number() {of = "index", rows = "visual"}
    %2 = rope %0, %1 {heads = 1, theta = 100}
    %3 = rows %x {rows = "text"}
    %4 = row_number() {of = "position", rows = "text"}
    %5 = rope %3, %4 {heads = 1, theta = 100}
    %6 = merge %2, %5`, '%6'))).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(media visual: V, text: T)
        input x: f32[visual+text, 4] at prompt

        %0 = row_number() {of = "place", rows = "visual+text"} : i32[visual+text]
        %1 = rope %x, %0 {heads = 1, theta = 100} : f32[visual+text, 4]
        return out = %1
      }"
    `);
});

test('rows of two values, rotations by other numbers and by other angles stay apart', () => {
  const same = (text: string): void => expect(after([joinRows], text)).toContain('merge');
  same(graph(`
    %0 = rows %x {rows = "visual"}
    %1 = rows %y {rows = "text"}
    %2 = merge %0, %1`, '%2'));
  const turned = (of: string, theta: number): string => graph(`
    %0 = rows %x {rows = "visual"}
    %1 = row_number() {of = "${of}", rows = "visual"}
    %2 = rope %0, %1 {heads = 1, theta = ${theta}}
    %3 = rows %x {rows = "text"}
    %4 = row_number() {of = "position", rows = "text"}
    %5 = rope %3, %4 {heads = 1, theta = 100}
    %6 = merge %2, %5`, '%6');
  same(turned('position', 100));
  same(turned('index', 10));
});
