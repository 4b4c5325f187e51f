/**
 * `dht-sidecar demo`: the whole system on this machine.
 *
 * Not yet there; here so that the command line is whole. It must not need the network beyond loopback.
 */
import { SidecarError } from '../core/errors.ts';
import type { Command } from './command.ts';

export const demo: Command = {
  help: 'Usage: dht-sidecar demo [--workers 3] [--seconds 10] [--json]\n',
  run: () => Promise.reject(new SidecarError('internal', 'the demo is not there yet')),
};
