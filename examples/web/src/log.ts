/** The list of questions and answers. */
import type { Manifest } from '../../../runtime/browser.ts';
import type { Run } from './ask.ts';
import { visualRows } from './ask.ts';
import { byId, html } from './dom.ts';
import { count, ms, plural } from './format.ts';

export class Log {
  private readonly list = byId('log', HTMLOListElement);

  /** A new question, above those asked before. */
  add(question: string, picture: { url: string; label: string }): Entry {
    const entry = new Entry(question, picture);
    this.list.prepend(entry.element);
    return entry;
  }

  /** While an answer grows, screen readers wait for the whole of it. */
  set busy(busy: boolean) { this.list.setAttribute('aria-busy', String(busy)); }
}

export class Entry {
  private readonly answer = html('p', { class: 'a growing' });
  private readonly facts = html('ul', { class: 'facts', 'aria-label': 'What it took' });
  readonly element: HTMLLIElement;

  constructor(question: string, picture: { url: string; label: string }) {
    this.element = html('li', {}, html('img', { src: picture.url, alt: picture.label }), html('p', { class: 'q' }, question), this.answer, this.facts);
  }

  grow(text: string): void { this.answer.textContent = text; }

  finish(name: string, run: Run, manifest: Manifest): void {
    this.answer.classList.remove('growing');
    if (!run.text) this.answer.textContent = '(no answer)';
    const rows = visualRows(manifest, run.work);
    this.facts.append(
      html('li', {}, name),
      html('li', {}, `first word after ${ms(run.first)}`),
      html('li', {}, plural(run.work.dispatches, 'dispatch', 'dispatches')),
      html('li', rows === 0 ? { class: 'none' } : {}, `visual rows computed: ${count(rows)}${rows === 0 ? ', the picture is remembered' : ''}`),
    );
  }

  /** What the other program said to the same question. */
  compare(name: string, run: Run, same: boolean): void {
    this.facts.append(html('li', {}, same ? `${name} agrees, after ${ms(run.first)}` : `${name} says “${run.text}”, after ${ms(run.first)}`));
  }

  fail(message: string): void {
    this.answer.remove();
    this.element.append(html('p', { class: 'problem', role: 'alert' }, message));
  }
}
