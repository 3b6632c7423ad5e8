import { describe } from 'vitest';
import { kernelSuites } from '../support/kernel-suites.ts';
import { findManifests } from '../../runtime/node-vulkan.ts';

describe.runIf(process.platform === 'linux' && findManifests().lavapipe.length > 0)('kernels on lavapipe', () => kernelSuites('lavapipe'));
