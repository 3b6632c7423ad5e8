import { attentionSuite } from '../support/attention-suite.ts';

// The best adapter of this machine: a GPU, else lavapipe, else SwiftShader.
attentionSuite('auto');
