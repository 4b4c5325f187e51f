/**
 * What a service may be called, which is also what it is called in addresses and host names.
 */
export const MAX_NAME_LENGTH = 63;

function isLowerAlphanumeric(unit: number): boolean {
  return (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x30 && unit <= 0x39);
}

/** `[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?` */
export function isServiceName(text: string): boolean {
  const last = text.length - 1;
  if (last < 0 || last >= MAX_NAME_LENGTH) return false;
  for (let i = 0; i <= last; i++) {
    const unit = text.charCodeAt(i);
    if (isLowerAlphanumeric(unit)) continue;
    const isInner = unit === 0x2d || unit === 0x2e || unit === 0x5f;
    if (!isInner || i === 0 || i === last) return false;
  }
  return true;
}
