import { describe, expect, test } from 'vitest';
import { ChatTemplate, type ChatMessage } from '../../../runtime/chat.ts';
import { Tokenizer } from '../../../runtime/tokenizer.ts';

const shapes =
  "{% for m in messages %}{% if m.role == 'user' %}user : {% for p in m.content %}{% if p.type == 'image' %}<image> {% else %}{{ p.text }} {% endif %}{% endfor %}{% else %}assistant : {% for p in m.content %}{{ p.text }} {% endfor %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}";
const chatml = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const strict = "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant.') }}{% endif %}[{{ m.content.strip() }}]{% endfor %}";
const ask = (text: string): ChatMessage => ({ role: 'user', content: [{ type: 'image' }, { type: 'text', text }] });

describe('templates', () => {
  test('that walk parts get parts, plain strings included', () => {
    const chat = ChatTemplate.from({ tokenizerConfig: { chat_template: shapes } });
    expect(chat.isPlain).toBe(false);
    expect(chat.render([ask('what color ?')])).toBe('user : <image> what color ? assistant :');
    expect(chat.render([ask('how many ?'), { role: 'assistant', content: 'two' }, { role: 'user', content: 'red ?' }])).toBe('user : <image> how many ? assistant : two </s>user : red ? assistant :');
    expect(chat.render([{ role: 'user', content: 'hi' }], { addGenerationPrompt: false })).toBe('user : hi ');
  });

  test('that want text get text, pictures as their token', () => {
    const chat = ChatTemplate.from({ tokenizerConfig: { chat_template: chatml } });
    expect(chat.render([ask('what?')])).toBe('<|im_start|>user\n<image>\nwhat?<|im_end|>\n<|im_start|>assistant\n');
  });

  test('may refuse a conversation', () => {
    const chat = ChatTemplate.from({ tokenizerConfig: { chat_template: strict, bos_token: { content: '<s>' } } });
    expect(chat.render([{ role: 'user', content: ' hi ' }])).toBe('<s>[hi]');
    expect(() => chat.render([{ role: 'assistant', content: 'hi' }])).toThrow(
      expect.objectContaining({ code: 'chat', message: 'The chat template in tokenizer_config.json refused the conversation: Roles must alternate user/assistant. Check the roles and their order.' }),
    );
  });

  test('are looked for in the order of transformers', () => {
    const file = (s: string) => ({ chat_template: s });
    const render = (files: Parameters<typeof ChatTemplate.from>[0]) => ChatTemplate.from(files).render([{ role: 'user', content: '' }]);
    expect(render({ jinja: 'a', json: file('b'), processorConfig: file('c'), tokenizerConfig: file('d') })).toBe('a');
    expect(render({ json: file('b'), processorConfig: file('c'), tokenizerConfig: file('d') })).toBe('b');
    expect(render({ processorConfig: file('c'), tokenizerConfig: file('d') })).toBe('c');
    expect(render({ tokenizerConfig: { chat_template: [{ name: 'tool_use', template: 'x' }, { name: 'default', template: 'y' }] } })).toBe('y');
  });

  test.each<[unknown, RegExp]>([
    ['{% if %}', /cannot be read/],
    [[{ name: 'rag', template: 'x' }, { name: 'tools', template: 'y' }], /template named "default"/],
    [7, /neither a text nor a list/],
  ])('that are broken are told: %j', (template, message) => {
    expect(() => ChatTemplate.from({ tokenizerConfig: { chat_template: template } })).toThrow(expect.objectContaining({ code: 'chat', message: expect.stringMatching(message) }));
  });
});

test('without a template, messages are plain text', () => {
  const chat = ChatTemplate.from({ imageToken: '<img>' });
  expect(chat.isPlain).toBe(true);
  expect(chat.render([ask('what?')])).toBe('<img>\nwhat?');
  expect(chat.render([{ role: 'user', content: 'USER: <image> hi ASSISTANT:' }])).toBe('USER: <image> hi ASSISTANT:');
  expect(() => chat.render([])).toThrow(/no messages/);
});

test('the beginning token is written once', () => {
  const tokenizer = new Tokenizer(
    {
      model: { type: 'WordLevel', vocab: { '<s>': 0, '[': 1, hi: 2, ']': 3 }, unk_token: '<s>' },
      added_tokens: [{ id: 0, content: '<s>', special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }],
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } } },
    },
    { bos_token: '<s>' },
  );
  const hi: ChatMessage[] = [{ role: 'user', content: 'hi' }];
  expect(ChatTemplate.from({ tokenizerConfig: { chat_template: strict, bos_token: '<s>' } }).encode(tokenizer, hi)).toEqual([0, 1, 2, 3]);
  expect(ChatTemplate.from({}).encode(tokenizer, hi)).toEqual([0, 2]);
});
