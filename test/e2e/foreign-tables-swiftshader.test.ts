import { describe } from 'vitest';
import { foreignTablesSuite } from '../support/foreign-tables-suite.ts';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('tables of other adapters on SwiftShader', () => foreignTablesSuite('swiftshader'));
