/**
 * Hooks of Node's module loader, for files that authors write (load.ts registers them; they run in a thread of Node's own,
 * so this file is plain JavaScript).
 *
 * - `eemllm` in an author's file is this very copy of the package, wherever the file lies: also where nothing is
 *   installed, and never a second copy, whose models this one could not trace.
 * - TypeScript is a module, whatever the package.json around it says or leaves out.
 */
const here = new URL('../../package.json', import.meta.url).href;

export async function resolve(specifier, context, next) {
  const own = specifier === 'eemllm' || specifier.startsWith('eemllm/');
  const found = await next(specifier, own ? { ...context, parentURL: here } : context);
  const { pathname } = new URL(found.url);
  return found.format === 'commonjs' && pathname.endsWith('.ts') && !pathname.includes('/node_modules/') ? { ...found, format: 'module' } : found;
}
