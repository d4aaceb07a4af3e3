// Package dump is the form in which the sessions of a cluster are written to a
// file: lines of JSON. It is pure: sessions in, lines out, and back.
//
// The first line says what the file is, and the last one how many sessions
// stand between them, so that a file that was cut short is noticed:
//
//	{"holdfast_dump":1,"cluster":"holdfast","at":"2026-11-30T08:00:00Z"}
//	{"key":"alice","kind":"hash","fields":[{"name":"cart","value":"[\"book\"]"}],"end":1796029200000,"idle":1800000}
//	{"dump_end":true,"sessions":1}
//
// What stands in a session's line:
//
//   - key, and kind: hash (the fields of a JSON object or a Redis hash), opaque
//     (any bytes, of content_type), set, or zset.
//   - fields: those of a hash with the JSON text of each value, or, where raw is
//     true, the bytes that a Redis client gave. The members of a set, and those
//     of a zset with their scores. An opaque value is one field without a name.
//   - end: when the session ends, Unix time in ms; none if it does not.
//   - idle: for how long, in ms, a read or write moves the end ahead; none if
//     nothing moves it.
//   - deadline: the end, Unix time in ms, that nothing moves.
//
// Text that is not UTF-8 cannot stand in JSON. It is written in base64 instead,
// under the same name with 64 behind it: key64, name64, value64.
//
// A later version may write more. Its lines are refused here and not read in
// part, for what is left out of a session would be lost without a word.
package dump
