/** What requests ask of workers: how it is read, who meets it, and what is said where nobody does. */
import { describe, expect, test } from '@jest/globals';
import {
  type Capabilities,
  meets,
  meetsAll,
  parseRequirements,
  preferenceRank,
  type Requirement,
  unmetSummary,
  unmetText,
} from '../../sidecar/core/peers/requirements.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const GPU: Capabilities = { has_gpu: true, gpu_type: 'RTX 4090', vram_gb: 24, arch: 'x64', version: '24' };

function parsed(text: string): readonly Requirement[] {
  const found = parseRequirements(text);
  if ('fault' in found) throw new Error(found.fault);
  return found;
}

function isMet(text: string, capabilities = GPU): boolean {
  return meetsAll(capabilities, parsed(text));
}

describe('requirements of a request', () => {
  test('equal, unequal, at least and at most, of text, numbers and booleans', () => {
    for (const met of [
      ...['has_gpu=true', 'gpu_type=RTX 4090', 'gpu_type=rtx 4090', 'vram_gb=24', 'vram_gb=24.0'],
      ...['vram_gb>=24', 'vram_gb<=24', 'vram_gb>=-1', 'gpu_type!=A100', 'has_gpu!=false'],
      ...['gpu_type=A100|RTX 4090', 'gpu_type!=A100|H100', 'vram_gb=16|24', 'version=24'],
      ...['has_gpu=true, vram_gb >= 16', ' has_gpu = true,vram_gb!=16 ', ''],
    ])
      expectNamed(isMet(met), met).toBe(true);
    for (const unmet of [
      ...['has_gpu=false', 'gpu_type=RTX', 'gpu_type=A100|H100', 'gpu_type!=A100|RTX 4090', 'vram_gb=25'],
      ...['vram_gb>=24.1', 'vram_gb<=23', 'vram_gb!=24', 'has_gpu=true,vram_gb>=32', 'has_gpu!=TRUE'],
    ])
      expectNamed(isMet(unmet), unmet).toBe(false);
  });

  test('what is not told is no number and no text, and is not what it must not be', () => {
    for (const unmet of ['ram=1', 'ram>=0', 'ram<=9', 'gpu_type>=1', 'version>=1', 'constructor=1'])
      expectNamed(isMet(unmet), unmet).toBe(false);
    expect(isMet('ram!=1')).toBe(true);
    expect(isMet('constructor!=x')).toBe(true);
  });

  test('a slip is told in the words of who made it', () => {
    const faults: [string, RegExp][] = [
      ['vram_gb>24', /"vram_gb>24" is not name=value/],
      ['vram_gb', /"vram_gb" is not name=value/],
      ['vram_gb==24', /is not name=value/],
      ['=24', /"=24" is not name=value/],
      ['Vram=24', /is not name=value/],
      ['vram_gb>=many', /"vram_gb>=many" compares with what is no number/],
      ['vram_gb>=16|24', /compares with what is no number/],
      ['a=', /is not name=value/],
      ['a=|b', /is not name=value/],
      ['a=b||c', /is not name=value/],
      ['a=b| |c', /"a=b\| \|c" has an empty value/],
      ['a=1,,b=2', /"" is not name=value/],
      ['a=1,'.repeat(17), /more than 16 terms/],
      [`a=${'x'.repeat(1_024)}`, /longer than 1024 characters/],
    ];
    for (const [text, pattern] of faults) {
      const found = parseRequirements(text);
      expectNamed('fault' in found && found.fault, text).toMatch(pattern);
    }
  });

  test('of preferences the first counts more than all behind it', () => {
    const rank = (text: string) => preferenceRank(GPU, parsed(text));
    expect(rank('has_gpu=true,vram_gb=1,arch=arm64')).toBeGreaterThan(
      rank('has_gpu=false,vram_gb=24,arch=x64'),
    );
    expect(rank('has_gpu=true,vram_gb=24')).toBeGreaterThan(rank('has_gpu=true,vram_gb=25'));
    expect(rank('')).toBe(0);
  });

  test('a refusal says how many meet what, and what the nearest lacks', () => {
    const workers = [
      { worker_id: 'cpu-1', capabilities: { has_gpu: false } },
      { worker_id: 'gpu-1', capabilities: { has_gpu: true, vram_gb: 16 } },
    ];
    const requirements = parsed('has_gpu=true, vram_gb>=24');
    expect(unmetSummary(workers, requirements)).toBe(
      'of 2 known workers has_gpu=true is met by 1, vram_gb>=24 is met by 0; ' +
        'the nearest, gpu-1, lacks vram_gb>=24 (it has 16)',
    );
    expect(unmetText({}, requirements)).toBe('has_gpu=true (not told), vram_gb>=24 (not told)');
    expect(unmetText(GPU, requirements)).toBe('');
    expect(requirements.map((requirement) => meets(GPU, requirement))).toStrictEqual([true, true]);
  });
});
