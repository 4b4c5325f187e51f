/** Before each test file: `FC_SEED=<seed>` has fast-check draw again what a failed property has printed its seed for. */
const { FC_SEED } = process.env;

if (FC_SEED !== undefined) {
  const { configureGlobal, readConfigureGlobal } = await import('fast-check');
  configureGlobal({ ...readConfigureGlobal(), seed: Number(FC_SEED) });
}

export {};
