import { describe } from 'vitest';
import { scheduleSpaceSuite } from '../support/schedule-space-suite.ts';
import { findManifests } from '../../runtime/node-vulkan.ts';

describe.runIf(process.platform === 'linux' && findManifests().lavapipe.length > 0)('schedules on lavapipe', () => scheduleSpaceSuite('lavapipe', 16));
