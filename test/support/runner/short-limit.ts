/** Before each test file that computes and waits for nobody: it hangs sooner than one that waits for processes. */
import { jest } from '@jest/globals';

jest.setTimeout(60_000);
