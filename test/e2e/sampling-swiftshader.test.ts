import { describe } from 'vitest';
import { samplingSuite } from '../support/sampling-suite.ts';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('sampling on SwiftShader', () => samplingSuite('swiftshader'));
