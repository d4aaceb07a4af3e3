package session

import (
	"encoding/json"
	"strings"
)

// This file is how two endpoints agree on the names and values of fields. The
// HTTP endpoint speaks JSON: a field's value is a JSON text. The Redis endpoint
// speaks bytes, and its field names may be any: a value of its is stored as a
// zero byte, with which no JSON text begins, and the bytes.

// FieldKind is the reserved field that says what a session is whose fields are
// not those of a JSON object or a Redis hash: [KindSet] or [KindSortedSet]. Its
// fields are the members then, of a sorted set with their scores as values.
const FieldKind = "\x00kind"

// The values of [FieldKind].
const (
	KindSet       = "set"
	KindSortedSet = "zset"
)

// Kind returns the value of [FieldKind], "" where there is none.
func (r *Record) Kind() string {
	kind, _ := r.Value(FieldKind)
	return kind
}

// plain says whether the session's fields are those of a JSON object or a hash.
func (r *Record) plain() bool {
	_, opaque := r.Opaque()
	return !opaque && r.Kind() == ""
}

const escape = "\x01"

// EscapeName returns the name under which a field is kept that a client calls
// name. Those that mean something here, "" and what begins with a zero byte,
// get a leading byte, and so must those that begin with that byte.
func EscapeName(name string) string {
	if name == "" || name[0] <= escape[0] {
		return escape + name
	}
	return name
}

// UnescapeName is the inverse of [EscapeName].
func UnescapeName(name string) string { return strings.TrimPrefix(name, escape) }

// RawValue returns the bytes that the Redis endpoint was given for a value, and
// whether it was that endpoint that wrote it.
func RawValue(value string) (raw string, ok bool) {
	if value == "" || value[0] != 0 {
		return "", false
	}
	return value[1:], true
}

// ValueBytes returns a field's value as the Redis endpoint shows it: what it
// was given, or the text of a JSON string, or any other JSON as it is.
func ValueBytes(value string) string {
	if raw, ok := RawValue(value); ok {
		return raw
	}
	if len(value) >= 2 && value[0] == '"' && json.Valid([]byte(value)) {
		return unquote(value)
	}
	return value
}
