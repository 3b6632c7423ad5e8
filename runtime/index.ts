/** The runtime: runs bundles on any `GPUDevice`, in browsers and in Node. Node's own parts are in `node.ts`. */
export { openBundle, chooseTarget } from './bundle.ts';
export type { Bundle, BundleFiles } from './bundle.ts';
export type { ChatMessage, ContentPart } from './chat.ts';
export type { ImageInput } from './context.ts';
export { RuntimeError } from './errors.ts';
export type { RawImage } from './image.ts';
export type { Manifest } from './manifest.ts';
export { Model } from './model.ts';
export type { AnswerTimings, GeneratedToken, GenerateOptions, LoadOptions } from './model.ts';
export { newCounters } from './program.ts';
export type { Counters } from './program.ts';
export { Session } from './session.ts';
export { fetchSource, bytesSource } from './sources.ts';
export type { ByteSource } from './sources.ts';
