/** Ends a text at the first of some strings, though it arrives in pieces: what may begin one is held back. */
export class StopStrings {
  private held = '';
  stopped = false;

  constructor(private readonly stops: readonly string[]) {}

  /** The text that is sure to stay, of all that came so far. */
  push(piece: string): string {
    if (this.stopped) return '';
    const text = this.held + piece;
    const at = Math.min(...this.stops.map((s) => text.indexOf(s)).filter((i) => i >= 0));
    if (at !== Infinity) {
      this.stopped = true;
      this.held = '';
      return text.slice(0, at);
    }
    let keep = 0;
    for (const s of this.stops) for (let n = Math.min(s.length - 1, text.length); n > keep; n--) if (text.endsWith(s.slice(0, n))) { keep = n; break; }
    this.held = keep ? text.slice(-keep) : '';
    return keep ? text.slice(0, -keep) : text;
  }

  /** What was held back, when nothing follows. */
  flush(): string {
    const rest = this.held;
    this.held = '';
    return rest;
  }
}
