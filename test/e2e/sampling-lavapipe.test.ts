import { describe } from 'vitest';
import { findManifests } from '../../runtime/node-vulkan.ts';
import { samplingSuite } from '../support/sampling-suite.ts';

describe.runIf(process.platform === 'linux' && findManifests().lavapipe.length > 0)('sampling on lavapipe', () => samplingSuite('lavapipe'));
