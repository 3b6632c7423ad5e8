import { describe } from 'vitest';
import { scheduleSpaceSuite } from '../support/schedule-space-suite.ts';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('schedules on SwiftShader', () => scheduleSpaceSuite('swiftshader', 16));
