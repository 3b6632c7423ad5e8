/** Common subexpressions, constants, dead code. */
import { expect, test } from 'vitest';
import { constants } from '../../passes/constants.ts';
import { cse } from '../../passes/cse.ts';
import { deadCode } from '../../passes/dead-code.ts';
import { zeroRows } from '../../passes/zero-rows.ts';
import { after } from '../support/golden.ts';

const graph = (body: string): string => `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = k.pos <= q.pos
  input x: f32[visual+text, 4] at prompt
  weight "w": f32[4, 4]
  weight "b": f32[4]
${body.trim().split('\n').map((l) => `  ${l.trim()}`).join('\n')}
}`;
/** The nodes of a text. */
const body = (text: string): string => text.slice(text.indexOf('  %0'));

test('cse: equal ops on equal inputs become one, whatever the order of their attributes', () => {
  expect(body(after([cse, deadCode], graph(`
    %0 = rms_norm %x, @"b" {eps = 0.1}
    %1 = rms_norm %x, @"b" {eps = 0.1}
    %2 = rms_norm %x, @"b" {eps = 0.2}
    %3 = add %0, %1
    %4 = add %3, %2
    return out = %4`)))).toMatchInlineSnapshot(`
      "  %0 = rms_norm %x, @"b" {eps = 0.1} : f32[visual+text, 4]
        %1 = rms_norm %x, @"b" {eps = 0.2} : f32[visual+text, 4]
        %2 = add %0, %0 : f32[visual+text, 4]
        %3 = add %2, %1 : f32[visual+text, 4]
        return out = %3
      }"
    `);
});

test('constants: factors fold into one another and into the scale of attention', () => {
  expect(body(after([constants, deadCode], graph(`
    %0 = scale %x {by = 2}
    %1 = scale %0 {by = 0.25}
    %2 = scale %x {by = 1}
    %3 = attention %1, %2, %2 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
    return out = %3`)))).toMatchInlineSnapshot(`
      "  %0 = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 0.25, mask = "m"} : f32[visual+text, 4]
        return out = %0
      }"
    `);
});

test('constants: rows are looked up where they come from', () => {
  expect(body(after([constants, deadCode], graph(`
    %0 = rows %x {rows = "visual"}
    %1 = rows %x {rows = "text"}
    %2 = merge %0, %1
    %3 = silu %1
    %4 = merge %0, %3
    %5 = rows %4 {rows = "text"}
    %6 = rows %5 {rows = "text.last"}
    %7 = broadcast @"b" {rows = "visual+text"}
    %8 = rows %7 {rows = "visual"}
    %9 = repeat_heads %2 {heads = 2, kv_heads = 2}
    return last = %6, bias = %8, all = %9`)))).toMatchInlineSnapshot(`
      "  %0 = rows %x {rows = "text"} : f32[text, 4]
        %1 = silu %0 : f32[text, 4]
        %2 = rows %1 {rows = "text.last"} : f32[text.last, 4]
        %3 = broadcast @"b" {rows = "visual"} : f32[visual, 4]
        return last = %2, bias = %3, all = %x
      }"
    `);
});

test('zero rows: what follows from zeros is not computed', () => {
  expect(body(after([zeroRows, deadCode], graph(`
    %0 = rows %x {rows = "text"}
    %1 = zeros() {rows = "visual", width = 4}
    %2 = merge %1, %0
    %3 = linear %2, @"w"
    %4 = silu %3
    %5 = mul %x, %4
    %6 = sub %x, %5
    %7 = linear %4, @"w", @"b"
    %8 = sigmoid %4
    return difference = %6, biased = %7, half = %8`)))).toMatchInlineSnapshot(`
      "  %0 = rows %x {rows = "text"} : f32[text, 4]
        %1 = linear %0, @"w" : f32[text, 4]
        %2 = zeros() {rows = "visual", width = 4} : f32[visual, 4]
        %3 = silu %1 : f32[text, 4]
        %4 = merge %2, %3 : f32[visual+text, 4]
        %5 = rows %x {rows = "text"} : f32[text, 4]
        %6 = mul %5, %3 : f32[text, 4]
        %7 = rows %x {rows = "visual"} : f32[visual, 4]
        %8 = rows %x {rows = "text"} : f32[text, 4]
        %9 = sub %8, %6 : f32[text, 4]
        %10 = merge %7, %9 : f32[visual+text, 4]
        %11 = broadcast @"b" {rows = "visual"} : f32[visual, 4]
        %12 = linear %3, @"w", @"b" : f32[text, 4]
        %13 = merge %11, %12 : f32[visual+text, 4]
        %14 = sigmoid %4 : f32[visual+text, 4]
        return difference = %10, biased = %13, half = %14
      }"
    `);
});

test('dead code: what no output needs goes, leaves too', () => {
  expect(after([deadCode], graph(`
    %0 = linear %x, @"w"
    %1 = silu %x
    return out = %1`))).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(media visual: V, text: T)
        mask m(tokens) = k.pos <= q.pos
        input x: f32[visual+text, 4] at prompt

        %0 = silu %x : f32[visual+text, 4]
        return out = %0
      }"
    `);
});
