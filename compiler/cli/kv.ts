/** `--kv`: how keys and values are held for later steps. */
import { Option } from 'commander';
import type { StateFormatKind } from '../ir/state-format.ts';
import { stateFormatKinds } from '../ir/state-format.ts';

export interface KvFlags { kv: StateFormatKind }
export const kvOption = (): Option => new Option('--kv <format>', 'how the KV cache and the visual memory hold keys and values: f32, f16, or int8 with a scale for each row of each head').choices([...stateFormatKinds]).default('f32');
