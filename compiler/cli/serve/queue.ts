/**
 * One request at a time runs on the device; the others wait here. Clients take turns: whoever sends many requests at
 * once waits behind its own, not everybody behind them.
 */
export class QueueFull extends Error {}

interface Waiting { readonly start: () => void }

export class FairQueue {
  private running = false;
  /** Requests by client; the client that waits longest for its turn comes first. */
  private readonly waiting = new Map<string, Waiting[]>();
  private count = 0;

  /** @param limit most requests that wait */
  constructor(private readonly limit: number) {}

  /** Requests that wait. */
  get length(): number { return this.count; }

  /**
   * Resolves when it is the request's turn, with what ends it. A signal that aborts gives the place up.
   * @throws QueueFull when too many wait; the signal's reason when it aborts.
   */
  async enter(client: string, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.running) {
      if (this.count >= this.limit) throw new QueueFull();
      await this.wait(client, signal);
    }
    this.running = true;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.running = false;
      this.next();
    };
  }

  private wait(client: string, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        const line = this.waiting.get(client) ?? [], at = line.indexOf(entry);
        if (at < 0) return;
        line.splice(at, 1);
        if (!line.length) this.waiting.delete(client);
        this.count--;
        reject(signal!.reason as Error);
      };
      const entry: Waiting = { start: () => { signal?.removeEventListener('abort', leave); resolve(); } };
      signal?.addEventListener('abort', leave, { once: true });
      this.waiting.set(client, [...(this.waiting.get(client) ?? []), entry]);
      this.count++;
    });
  }

  private next(): void {
    const [first] = this.waiting;
    if (!first) return;
    const [client, line] = first, entry = line.shift()!;
    // The client's other requests go behind everybody else's.
    this.waiting.delete(client);
    if (line.length) this.waiting.set(client, line);
    this.count--;
    this.running = true;
    entry.start();
  }
}
