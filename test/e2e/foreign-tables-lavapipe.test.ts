import { describe } from 'vitest';
import { foreignTablesSuite } from '../support/foreign-tables-suite.ts';
import { findManifests } from '../../runtime/node-vulkan.ts';

describe.runIf(process.platform === 'linux' && findManifests().lavapipe.length > 0)('tables of other adapters on lavapipe', () => foreignTablesSuite('lavapipe'));
