/** What a server counts, in Prometheus' text form. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

import type { Buffers } from './buffers.ts';

const seconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

export class Metrics {
  private readonly registers = [new Registry()];
  readonly requests = new Counter({ name: 'eemllm_requests_total', help: 'Chat completions by HTTP status.', labelNames: ['status'], registers: this.registers });
  readonly promptTokens = new Counter({ name: 'eemllm_prompt_tokens_total', help: 'Tokens of prompts, rows of pictures included.', registers: this.registers });
  readonly tokens = new Counter({ name: 'eemllm_generated_tokens_total', help: 'Tokens generated.', registers: this.registers });
  readonly parts = new Counter({ name: 'eemllm_answer_seconds_total', help: 'Time of answers by part: pictures not seen before, prompts until their first token, tokens after it.', labelNames: ['part'], registers: this.registers });
  readonly firstToken = new Histogram({ name: 'eemllm_first_token_seconds', help: 'From the request to its first token, waiting included.', buckets: seconds, registers: this.registers });
  readonly duration = new Histogram({ name: 'eemllm_request_seconds', help: 'From the request to the end of its answer.', buckets: seconds, registers: this.registers });

  /** @param waiting tells how many requests wait; `buffers` what the device holds */
  constructor(waiting: () => number, buffers?: Buffers) {
    if (buffers) {
      new Gauge({ name: 'eemllm_device_buffers', help: 'Buffers on the device.', registers: this.registers, collect() { this.set(buffers.count); } });
      new Gauge({ name: 'eemllm_device_bytes', help: 'Bytes of the buffers on the device.', registers: this.registers, collect() { this.set(buffers.bytes); } });
    }
    new Gauge({ name: 'process_resident_memory_bytes', help: 'Host memory of the server.', registers: this.registers, collect() { this.set(process.memoryUsage.rss()); } });
    new Gauge({ name: 'eemllm_requests_waiting', help: 'Requests that wait for their turn.', registers: this.registers, collect() { this.set(waiting()); } });
  }

  text(): Promise<string> { return this.registers[0]!.metrics(); }
}
