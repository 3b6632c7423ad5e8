/**
 * The first key that stands twice in one object of a JSON text, with the path to it; undefined when there is none.
 * `JSON.parse` keeps the last of two equal keys and says nothing, so a file could hold a tensor that nobody sees.
 * The text must already have passed `JSON.parse`: this walks it without checking it again.
 */
export function findDuplicateKey(json: string): string | undefined {
  const seen: (Set<string> | undefined)[] = []; // one entry a nesting level; undefined for an array
  const path: string[] = [];
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i);
    if (c === 0x7b /* { */) seen.push(new Set());
    else if (c === 0x5b /* [ */) seen.push(undefined);
    else if (c === 0x7d /* } */ || c === 0x5d /* ] */) {
      seen.pop();
      path.length = Math.min(path.length, seen.length);
    } else if (c === 0x22 /* " */) {
      const start = i++;
      for (; json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c /* \ */) i++;
      const keys = seen[seen.length - 1];
      if (!keys) continue;
      let next = i + 1;
      while (next < json.length && json.charCodeAt(next) <= 0x20) next++;
      if (json.charCodeAt(next) !== 0x3a /* : */) continue; // a string that is a value
      const key = JSON.parse(json.slice(start, i + 1)) as string;
      path[seen.length - 1] = key;
      if (keys.has(key)) return path.slice(0, seen.length).map((k) => JSON.stringify(k)).join(' in ');
      keys.add(key);
    }
  }
  return undefined;
}
