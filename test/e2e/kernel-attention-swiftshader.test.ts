import { attentionSuite } from '../support/attention-suite.ts';

attentionSuite('swiftshader');
