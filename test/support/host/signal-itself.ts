/**
 * Preloaded (`--import`): the process gets SIGTERM in the midst of its start, at the moment that `SIGNAL_AT` names.
 *
 * From outside nobody can hit a moment that lasts milliseconds: `load`, when it begins to load the code of its
 * command; `listen`, when it opens its first port.
 */
import { registerHooks } from 'node:module';
import { Server } from 'node:net';

const { SIGNAL_AT } = process.env;

function signalItself(): void {
  process.kill(process.pid, 'SIGTERM');
}

if (SIGNAL_AT === 'load') {
  registerHooks({
    resolve(specifier, context, next) {
      const isCommand = /^\.\/(?:commands|demo)\//.test(specifier);
      if (isCommand && specifier !== './commands/command.ts') signalItself();
      return next(specifier, context);
    },
  });
}

if (SIGNAL_AT === 'listen') {
  const { listen } = Server.prototype;
  Server.prototype.listen = function (this: Server, ...args: unknown[]) {
    Server.prototype.listen = listen;
    signalItself();
    return Reflect.apply(listen, this, args) as Server;
  } as typeof listen;
}
