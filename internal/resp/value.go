package resp

// Kind is the type of a [Value]: the byte that an answer of it begins with.
// The two nulls of protocol 2, which share their first byte with a string and
// an array, have bytes of their own.
type Kind byte

const (
	Simple    Kind = '+'
	Error     Kind = '-'
	Int       Kind = ':'
	Bulk      Kind = '$'
	Array     Kind = '*'
	Null      Kind = '_'
	Bool      Kind = '#'
	Double    Kind = ','
	BigNumber Kind = '('
	BulkError Kind = '!'
	Verbatim  Kind = '='
	Map       Kind = '%'
	Set       Kind = '~'
	Push      Kind = '>'
	Attribute Kind = '|'

	NullBulk  Kind = 1 // $-1
	NullArray Kind = 2 // *-1
)

// Value is one answer. Which fields count depends on its kind.
type Value struct {
	Kind Kind
	Int  int64 // Int; Bool: 0 or 1
	// Simple, Error, Bulk, BulkError; Verbatim: with its format, as in "txt:…";
	// Double, BigNumber: as written.
	Text string

	// Elems are the elements of an Array, Set or Push, and of a Map its keys,
	// each followed by its value. An Attribute has those of a map, and then the
	// answer that it speaks of.
	Elems []Value
}

// IsNull reports whether a value is one of the three nulls.
func (v Value) IsNull() bool { return v.Kind == Null || v.Kind == NullBulk || v.Kind == NullArray }

// IsError reports whether a value is an error.
func (v Value) IsError() bool { return v.Kind == Error || v.Kind == BulkError }

// Append appends a value as it was read, byte for byte.
func (v Value) Append(dst []byte) []byte {
	switch v.Kind {
	case Int:
		return appendLine(dst, byte(Int), v.Int)
	case Bool:
		if v.Int != 0 {
			return append(dst, "#t\r\n"...)
		}
		return append(dst, "#f\r\n"...)
	case Null:
		return append(dst, "_\r\n"...)
	case NullBulk:
		return append(dst, "$-1\r\n"...)
	case NullArray:
		return append(dst, "*-1\r\n"...)
	case Bulk, BulkError, Verbatim:
		return appendBulk(dst, byte(v.Kind), v.Text)
	case Array, Set, Push, Map, Attribute:
		n := len(v.Elems)
		if v.Kind == Map || v.Kind == Attribute {
			n /= 2
		}
		dst = appendLine(dst, byte(v.Kind), int64(n))
		for _, e := range v.Elems {
			dst = e.Append(dst)
		}
		return dst
	default:
		return append(append(append(dst, byte(v.Kind)), v.Text...), "\r\n"...)
	}
}
