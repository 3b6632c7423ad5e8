/** The page: loads two programs of one model, asks them, and shows what the lighter one saves. */
import type { ImageInput, Model } from '../../../runtime/browser.ts';
import type { Run } from './ask.ts';
import { answer, ask, unknownWords } from './ask.ts';
import { fetchData, type WebData } from './data.ts';
import { byId, html } from './dom.ts';
import { ms, si } from './format.ts';
import { Log } from './log.ts';
import { MapView } from './map-view.ts';
import { measure } from './measure.ts';
import type { Picture } from './pictures.ts';
import { PicturePicker } from './pictures.ts';
import type { ProgramName, Programs } from './programs.ts';
import { loadPrograms, other, programNames } from './programs.ts';
import { promptTokens } from './prompt-tokens.ts';
import type { Measured } from './savings.ts';
import { largeTable, leadSentence, measuredTable, partsTable } from './savings.ts';

const form = byId('form', HTMLFormElement), question = byId('question', HTMLInputElement), send = byId('send', HTMLButtonElement);
const words = byId('words', HTMLParagraphElement), examples = byId('examples', HTMLDivElement), compare = byId('compare', HTMLInputElement);
const problem = byId('problem', HTMLParagraphElement), adapter = byId('adapter', HTMLParagraphElement);
const measureButton = byId('measure', HTMLButtonElement), measureStatus = byId('measure-status', HTMLSpanElement);
const log = new Log();

/** Questions for any picture of the kind that the model knows. */
const usual = ['describe the image .', 'how many objects are there ?', 'is there a red circle ?', 'what color is the square ?', 'is the background dark ?'];

let programs: Programs | undefined;
let picture: Picture | undefined;
let picker: PicturePicker | undefined;
let map: MapView | undefined;
/** The answer in progress; the button stops it. */
let running: AbortController | undefined;

function fail(error: unknown): void {
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
}

const chosen = (): ProgramName => (new FormData(form).get('mask') === 'self' ? 'self' : 'composite');
/** The program that was asked for, or the one that is there already. */
const program = (): { name: ProgramName; model: Model } | undefined => {
  for (const name of [chosen(), other(chosen())]) {
    const model = programs?.ready.get(name);
    if (model) return { name, model };
  }
  return undefined;
};

function refresh(): void {
  send.disabled = !programs || !picture;
  send.textContent = running ? 'Stop' : 'Ask';
  measureButton.disabled = running !== undefined || !picture || (programs?.ready.size ?? 0) < 2;
}

/** Preprocessed once; both programs read the same pixels. */
const prepared = new WeakMap<Picture, Promise<ImageInput>>();
function imageOf(model: Model, p: Picture): Promise<ImageInput> {
  const made = prepared.get(p) ?? model.image(p.raw, p.label);
  prepared.set(p, made);
  return made;
}

async function drawMap(): Promise<void> {
  const at = program();
  if (at && map && picture) map.draw(promptTokens(at.model, question.value.trim() || question.placeholder, await imageOf(at.model, picture)));
}

function showPicture(p: Picture): void {
  picture = p;
  examples.replaceChildren(...p.questions.map((text) => {
    const chip = html('button', { type: 'button' }, text);
    chip.addEventListener('click', () => { question.value = text; form.requestSubmit(); });
    return chip;
  }));
  refresh();
  void drawMap();
}

async function submit(): Promise<void> {
  if (running) { running.abort(); return; }
  const text = question.value.trim() || question.placeholder;
  question.value = text;
  await picker?.settled;
  const at = program();
  if (!at || !picture || running) return;
  const unknown = unknownWords(at.model, text);
  words.hidden = unknown.length === 0;
  words.textContent = `This small model does not know ${unknown.map((w) => `“${w}”`).join(', ')}.`;
  const shown = picture, entry = log.add(text, shown), { manifest } = at.model.bundle;
  running = new AbortController();
  log.busy = true;
  refresh();
  try {
    const image = await imageOf(at.model, shown);
    await drawMap();
    const run = await stream(ask(at.model, text, image, running.signal), (t) => entry.grow(t));
    programs!.device.check();
    entry.finish(at.name, run, manifest);
    const stopped = running.signal.aborted;
    running = undefined;
    log.busy = false;
    refresh();
    const rival = compare.checked && !stopped ? programs!.ready.get(other(at.name)) : undefined;
    const second = rival && (await answer(rival, text, image));
    if (second) entry.compare(other(at.name), second, second.text === run.text);
    showMeasured({ caption: `“${text}”, asked once`, once: true, manifest, [at.name]: run, ...(second ? { [other(at.name)]: second } : {}) });
  } catch (error) {
    entry.fail(error instanceof Error ? error.message : String(error));
  } finally {
    running = undefined;
    log.busy = false;
    refresh();
  }
}

async function stream(answers: AsyncGenerator<string, Run>, onText: (text: string) => void): Promise<Run> {
  for (;;) {
    const { done, value } = await answers.next();
    if (done) return value;
    onText(value);
  }
}

const showMeasured = (measured: Measured): void => byId('measured', HTMLDivElement).replaceChildren(measuredTable(measured));

async function measureBoth(): Promise<void> {
  const self = programs?.ready.get('self'), composite = programs?.ready.get('composite');
  if (!self || !composite || !picture) return;
  running = new AbortController();
  refresh();
  try {
    const text = question.value.trim() || question.placeholder, image = await imageOf(composite, picture);
    const { rounds, runs } = await measure({ self, composite }, text, image, (done, of) => { measureStatus.textContent = `${done} of ${of}`; });
    showMeasured({ caption: `“${text}”, about a picture not seen before: medians of ${rounds}, by turns`, once: false, manifest: composite.bundle.manifest, ...runs });
    measureStatus.textContent = `${ms(runs.self.first)} beside ${ms(runs.composite.first)}, for ${si(runs.self.work.flops)} and ${si(runs.composite.work.flops)} FLOPs`;
  } catch (error) {
    fail(error);
  } finally {
    running = undefined;
    refresh();
  }
}

function showData(data: WebData): void {
  byId('savings-lead', HTMLParagraphElement).replaceWith(leadSentence(data.cost, data.large));
  byId('parts', HTMLDivElement).replaceChildren(partsTable(data.cost));
  byId('large', HTMLDivElement).replaceChildren(largeTable(data.large));
  byId('measured', HTMLDivElement).replaceChildren(html('p', { class: 'hint' }, 'Ask something, and what it took stands here.'));
  map = new MapView(data.masks);
}

async function load(): Promise<void> {
  const box = byId('loading', HTMLDivElement), bar = byId('progress', HTMLProgressElement), status = byId('loading-text', HTMLSpanElement);
  try {
    await loadPrograms({
      onProgress(name, bytes, total) {
        bar.value = bytes / total;
        status.textContent = `Loading the weights for ${name}: ${si(bytes)}B of ${si(total)}B`;
      },
      onReady(name, loaded) {
        const first = programs === undefined;
        programs = loaded;
        if (first) {
          adapter.textContent = `Runs on ${loaded.adapter.name}${loaded.adapter.software ? ', in software: a graphics card is many times as fast' : ''}.`;
          adapter.classList.add('ready');
          void loaded.device.lost.then((error) => { fail(error); programs = undefined; refresh(); });
          void drawMap();
        }
        status.textContent = loaded.ready.size < programNames.length ? `${name} is ready, loading ${other(name)}…` : `${name} is ready`;
        bar.removeAttribute('value');
        refresh();
      },
    });
    box.hidden = true;
  } catch (error) {
    box.hidden = true;
    adapter.textContent = 'The model could not be loaded.';
    adapter.classList.add('failed');
    fail(error);
  }
}

form.addEventListener('submit', (e) => { e.preventDefault(); void submit(); });
form.addEventListener('change', () => void drawMap());
measureButton.addEventListener('click', () => void measureBoth());
try {
  const data = await fetchData();
  showData(data);
  picker = new PicturePicker(data.pictures, usual, showPicture);
  picker.pickFirst();
} catch (error) {
  fail(error);
}
await load();
