import type { Row, Section } from './row.ts';

const none = (check: string, published: number, unit: string, why: string): Row => ({ check, published, unit, kind: 'printed', tolerance: 'exact', ours: { why } });
const clock = 'it is wall-clock time on a machine, which no graph gives. A roofline gives the least that it can take: eemllm flops … --device h100-sxm.';

export const notGraphs: Section = {
  title: 'Printed but not to be had from a graph', source: 'the papers named',
  rows: [
    none("EE-MLLM's prefill on an H800", 79, 'ms', clock), none("LLaVA's prefill on an H800 beside it", 277, 'ms', clock),
    none('EAS on LaVIN', 2.2, 'times faster', clock), none('decoding with a text-only draft', 2.37, 'times faster', clock),
    none('DyVTE on LLaVA-1.5-7B (SEED): fewer TFLOPs', 0.457, 'fraction', 'the layer at which visual rows leave is chosen input by input. A fixed exit after 16 of 32 layers is vtw:k=16.'),
    none("Cobra's parameters as a part of LLaVA's", 0.43, 'fraction', 'its configuration is not published in enough detail.'),
    none('MM1, 3B with experts: parameters in all', 64, 'Bparam', 'its configuration is not published in enough detail.'),
    none('MM1, 7B with experts: parameters in all', 47, 'Bparam', 'its configuration is not published in enough detail.'),
  ],
};
