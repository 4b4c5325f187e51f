/** What /etc/hosts, /etc/resolv.conf and /etc/nsswitch.conf say, whole, odd and broken. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  hasOtherSources,
  nameKey,
  parseHosts,
  parseSearchRules,
  searchedNames,
} from '../../sidecar/core/name-files.ts';

const NO_SEARCH = { domains: [], dots: 1 };

describe('/etc/hosts', () => {
  test('gives each name all its addresses, whatever the case', () => {
    const hosts = parseHosts(
      '# of this host\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # both\r\n10.0.0.7 GPU-1 gpu-1.lan\n10.0.0.8 gpu-1 gpu-1\n',
    );
    expect(hosts.get('localhost')).toStrictEqual(['127.0.0.1', '::1']);
    expect(hosts.get('gpu-1')).toStrictEqual(['10.0.0.7', '10.0.0.8']);
    expect(hosts.get('gpu-1.lan')).toStrictEqual(['10.0.0.7']);
  });

  test('a line that says nothing costs the others nothing', () => {
    const hosts = parseHosts('worker 10.0.0.1\n10.0.0.300 bad\n10.0.0.2\n#10.0.0.3 off\n\0\n10.0.0.4 good');
    expect([...hosts]).toStrictEqual([['good', ['10.0.0.4']]]);
  });

  test('any text is read, and gives addresses alone', () => {
    const line = fc.array(
      fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('#', 'a', 'B.c', '\t'), fc.string()),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const hosts = parseHosts(lines.map((words) => words.join(' ')).join('\n'));
        for (const [name, addresses] of hosts) {
          expect(name).toBe(nameKey(name));
          expect(addresses.every((address) => /[.:]/.test(address))).toBe(true);
        }
      }),
    );
  });
});

describe('/etc/resolv.conf', () => {
  test('a short name is searched in the domains of Kubernetes first, a long one last', () => {
    const rules = parseSearchRules(
      'nameserver 10.96.0.10\nsearch ml.svc.cluster.local svc.cluster.local. cluster.local\noptions edns0 ndots:2\n',
    );
    expect(searchedNames('llm.ml', rules)).toStrictEqual([
      'llm.ml.ml.svc.cluster.local',
      'llm.ml.svc.cluster.local',
      'llm.ml.cluster.local',
      'llm.ml',
    ]);
    expect(searchedNames('t1.example.net', rules)[0]).toBe('t1.example.net');
    expect(searchedNames('t1.example.net.', rules)).toStrictEqual(['t1.example.net']);
  });

  test('the last domain or search counts, and `search .` is none', () => {
    expect(parseSearchRules('search a b\ndomain c d\n').domains).toStrictEqual(['c']);
    expect(parseSearchRules('domain c\nsearch .\n; search x\n').domains).toStrictEqual([]);
  });

  test('without any, the name alone is asked for', () => {
    for (const text of ['', 'nameserver 127.0.0.11\noptions ndots:0\n', 'options ndots:x ndots:-1\nsearch'])
      expect(searchedNames('worker', parseSearchRules(text))).toStrictEqual(['worker']);
    expect(parseSearchRules('options ndots:99').dots).toBe(15);
  });

  test('any text is read; the name itself is always asked for, once, and the questions are bounded', () => {
    const word = fc.constantFrom('search', 'domain', 'options', 'ndots:3', 'a.b', '.', '\n', '#', ' ', 'x');
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string())), fc.domain(), (words, name) => {
        const names = searchedNames(name, parseSearchRules(words.join(' ')));
        expect(names.filter((each) => each === nameKey(name))).toHaveLength(1);
        expect(names.length).toBeLessThanOrEqual(33);
      }),
    );
    expect(searchedNames('a'.repeat(253), { domains: ['b'], dots: 1 })).toHaveLength(1);
    expect(searchedNames('Worker', NO_SEARCH)).toStrictEqual(['worker']);
  });
});

describe('/etc/nsswitch.conf', () => {
  test('tells of sources that only libc can ask', () => {
    expect(hasOtherSources(null)).toBe(false);
    expect(hasOtherSources('passwd: files sss\nhosts: files dns\n')).toBe(false);
    expect(hasOtherSources('hosts: files [NOTFOUND=return] dns # mdns\n')).toBe(false);
    expect(hasOtherSources('hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns\n')).toBe(true);
  });
});
