/// <reference types="vite/client" />
/** The picture: one of those that ship, or one's own, picked, dropped or pasted. */
import type { RawImage } from '../../../runtime/browser.ts';
import { decodeImage } from '../../../runtime/browser.ts';
import type { PictureFacts } from './data.ts';
import { byId, html } from './dom.ts';

export interface Picture {
  readonly label: string;
  readonly url: string;
  readonly raw: RawImage;
  readonly questions: readonly string[];
}

/** Addresses of examples/shapes/pictures, by file name. */
const shipped = new Map(Object.entries(import.meta.glob<string>('../../shapes/pictures/*.png', { query: '?url', import: 'default', eager: true })).map(([path, url]) => [path.split('/').at(-1)!, url]));

export class PicturePicker {
  private readonly list = byId('pictures', HTMLFieldSetElement);
  private readonly problem = byId('picture-problem', HTMLParagraphElement);
  private readonly shown = byId('picture', HTMLImageElement);
  private own = 0;
  private asked = 0;
  /** Settles when the last choice has been decoded: who asks right after choosing means the new picture. */
  settled: Promise<void> = Promise.resolve();

  /** @param onPick called with each picture that was chosen and could be decoded */
  constructor(facts: readonly PictureFacts[], private readonly usual: readonly string[], private readonly onPick: (picture: Picture) => void) {
    facts.forEach(({ file, questions }, i) => {
      const url = shipped.get(file);
      if (url) this.add(`Picture ${i + 1}`, url, questions, async () => (await fetch(url)).blob());
    });
    this.listen();
  }

  /** Chooses the first picture. */
  pickFirst(): void { this.list.querySelector('input')?.click(); }

  private add(label: string, url: string, questions: readonly string[], bytes: () => Promise<Blob>): HTMLInputElement {
    const input = html('input', { type: 'radio', name: 'picture', 'aria-label': label });
    input.addEventListener('change', () => { this.settled = this.choose(label, url, questions, bytes); });
    this.list.append(html('label', { title: label }, input, html('img', { src: url, alt: '', width: 48, height: 48 })));
    return input;
  }

  private listen(): void {
    const file = byId('file', HTMLInputElement), { body } = document;
    file.addEventListener('change', () => { this.take(file.files); file.value = ''; });
    document.addEventListener('paste', (e) => { if (e.clipboardData?.files.length) { e.preventDefault(); this.take(e.clipboardData.files); } });
    // Without these, a drop would make the browser leave the page for the picture.
    document.addEventListener('dragover', (e) => { e.preventDefault(); body.classList.add('dropping'); });
    document.addEventListener('dragleave', (e) => { if (!e.relatedTarget) body.classList.remove('dropping'); });
    document.addEventListener('drop', (e) => { e.preventDefault(); body.classList.remove('dropping'); this.take(e.dataTransfer?.files); });
  }

  private take(files: FileList | null | undefined): void {
    const file = files?.[0];
    if (file) this.settled = this.takeOwn(file);
  }

  /** A picture of one's own joins the list once it could be decoded. */
  private async takeOwn(file: File): Promise<void> {
    const mine = ++this.asked;
    const raw = await this.decode(file, file.name || 'The pasted picture');
    if (!raw || mine !== this.asked) return;
    const label = file.name || `Your picture ${++this.own}`, url = URL.createObjectURL(file);
    const input = this.add(label, url, this.usual, async () => file);
    input.checked = true;
    this.show({ label, url, raw, questions: this.usual });
  }

  private async choose(label: string, url: string, questions: readonly string[], bytes: () => Promise<Blob>): Promise<void> {
    const mine = ++this.asked;
    const raw = await this.decode(await bytes(), label);
    // Another one may have been chosen meanwhile.
    if (raw && mine === this.asked) this.show({ label, url, raw, questions });
  }

  private async decode(blob: Blob, label: string): Promise<RawImage | undefined> {
    this.problem.hidden = true;
    try {
      return await decodeImage(blob, label);
    } catch (error) {
      this.problem.textContent = error instanceof Error ? error.message : String(error);
      this.problem.hidden = false;
      return undefined;
    }
  }

  private show(picture: Picture): void {
    this.shown.src = picture.url;
    this.shown.alt = picture.label;
    this.onPick(picture);
  }
}
