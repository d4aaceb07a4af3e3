// Package rdb reads and writes the payloads of DUMP and RESTORE: the value of
// one key in the format of Redis's snapshots (RDB), with a version and a
// checksum behind it. It is pure: text in, a [Value] out, and back.
//
// A payload is
//
//	type u8 | value | version u16 | CRC-64 (Jones) of all before it u64
//
// with the last two in little-endian order. [Decode] checks them, and then
// reads the value by its type: what a server writes depends on its version and
// on how it keeps the value (strings.go, packed.go). [Value.Append] writes the
// plain types alone, without compression: each server makes of a value what it
// likes when it reads it.
//
// # Versions
//
// The version is not looked at; the type says how a value is written. A new
// version has only ever brought new types, and left those that there were as
// they are. So what servers write that do not exist yet can be read, or is
// refused by its type. And the numbers are no longer one row: Redis 8.4 writes
// 12 and Valkey 9 writes 80, for the same strings.
//
// What is written says version 8, that of Redis 4.0, which brought the newest
// type that is written (sorted sets with binary scores). A server refuses
// payloads that are newer than itself and reads all that are older. So this can
// be read by the most.
//
// # What is refused
//
// Strings, hashes, sets and sorted sets are read, in all forms that servers up
// to Redis 8.4 and Valkey 9 gave them. Lists, streams and modules are refused by their
// names, and so is a hash of which a field has an end of its own, for that end
// would be lost. A hash may be empty, which in Redis it cannot be; a set may
// not.
//
// Payloads are what clients send, so nothing in them is trusted. A length
// counts only as far as there are bytes. What compressed strings unpack to is
// bounded by [Limits.Bytes], and by what so many bytes can unpack to at most,
// before it is allocated. An [Entry] of 40 bytes is made for what takes one
// byte at least, [Limits.Entries] times at most.
//
// # Why no library
//
// Libraries for Go read files, which their user's own server has written. The
// most complete one, github.com/hdt3213/rdb, allocates the length that a string
// announces before it reads a byte of it (core/string.go, looked at in November
// 2026): five bytes of a payload would make 4 GiB, and nine a panic.
package rdb
