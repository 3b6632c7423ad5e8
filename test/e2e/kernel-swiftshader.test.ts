import { describe } from 'vitest';
import { kernelSuites } from '../support/kernel-suites.ts';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('kernels on SwiftShader', () => kernelSuites('swiftshader'));
