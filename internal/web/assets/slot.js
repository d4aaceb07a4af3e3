// The way from a key to its partition, as ring/slot.go has it: the page shows
// each step of it.

export const slots = 16384;
export const perPartition = 16;
export const partitions = slots / perPartition;

// tagOf is the part in the first braces that are not empty, else the whole key.
export function tagOf(key) {
  const open = key.indexOf("{");
  if (open < 0) return key;
  const end = key.indexOf("}", open + 1);
  return end > open + 1 ? key.slice(open + 1, end) : key;
}

// crc16 is CRC-16/XMODEM over the bytes of a text.
export function crc16(text) {
  let crc = 0;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
  }
  return crc;
}

export const slotOf = (key) => crc16(tagOf(key)) % slots;
export const partitionOf = (key) => Math.floor(slotOf(key) / perPartition);
