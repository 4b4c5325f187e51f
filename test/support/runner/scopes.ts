/** Before each test file: what its tests start ends with them. */
import { endWithTests } from './on-test-end.ts';

endWithTests();
