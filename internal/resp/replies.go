package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrReply says that what was read is no answer in either protocol, or that it
// is larger than the reader takes. Where the next one begins is not known.
var ErrReply = errors.New("malformed reply")

// ReplyLimits bounds one answer. A zero field means the default.
type ReplyLimits struct {
	Depth int // arrays within arrays; default 32
	Elems int // values in all; default 16 Mi
	Bytes int // of all texts; default 512 MiB
}

func (l ReplyLimits) withDefaults() ReplyLimits {
	if l.Depth == 0 {
		l.Depth = 32
	}
	if l.Elems == 0 {
		l.Elems = 16 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	return l
}

// ReplyReader reads answers, as a client does.
type ReplyReader struct {
	src    *bufio.Reader
	limits ReplyLimits
	left   ReplyLimits // of the answer that is being read; Depth is not used
}

// NewReplyReader returns a reader of answers from src.
func NewReplyReader(src io.Reader, l ReplyLimits) *ReplyReader {
	return &ReplyReader{src: bufio.NewReader(src), limits: l.withDefaults()}
}

// Buffered returns how many bytes have arrived that Read has not used.
func (r *ReplyReader) Buffered() int { return r.src.Buffered() }

// Read waits for the next answer. Errors are the source's, or wrap [ErrReply];
// a source that ends within an answer gives [io.ErrUnexpectedEOF].
func (r *ReplyReader) Read() (Value, error) {
	r.left = r.limits
	if _, err := r.src.Peek(1); err != nil {
		return Value{}, err
	}
	v, err := r.value(0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func (r *ReplyReader) value(depth int) (Value, error) {
	if depth > r.limits.Depth {
		return Value{}, fmt.Errorf("%w: arrays are nested deeper than %d", ErrReply, r.limits.Depth)
	}
	if r.left.Elems--; r.left.Elems < 0 {
		return Value{}, fmt.Errorf("%w: more than %d values", ErrReply, r.limits.Elems)
	}
	line, err := r.line()
	if err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, fmt.Errorf("%w: an empty line", ErrReply)
	}
	kind, text := Kind(line[0]), line[1:]
	switch kind {
	case Bulk, BulkError, Verbatim:
		return r.bulk(kind, text)
	case Array, Set, Push, Map, Attribute:
		return r.aggregate(kind, text, depth)
	}
	v := Value{Kind: kind}
	if !v.scalar(text) {
		return Value{}, fmt.Errorf("%w: %.64q", ErrReply, line)
	}
	return v, nil
}

// scalar reads a value that is all on one line.
func (v *Value) scalar(text []byte) (ok bool) {
	switch v.Kind {
	case Simple, Error:
		v.Text = string(text)
		return true
	case Double, BigNumber:
		v.Text = string(text)
		return len(text) > 0
	case Int:
		v.Int, ok = ParseInt(text)
		return ok
	case Bool:
		if len(text) == 1 && text[0] == 't' {
			v.Int = 1
		}
		return len(text) == 1 && (text[0] == 't' || text[0] == 'f')
	case Null:
		return len(text) == 0
	default:
		return false
	}
}

// bulk reads the bytes that a length announces, in pieces: the length alone
// costs nothing.
func (r *ReplyReader) bulk(kind Kind, length []byte) (Value, error) {
	n, ok := ParseInt(length)
	if ok && n == -1 && kind == Bulk {
		return Value{Kind: NullBulk}, nil
	}
	if !ok || n < 0 || kind == Verbatim && n < 4 {
		return Value{}, fmt.Errorf("%w: length %.64q", ErrReply, length)
	}
	if n > int64(r.left.Bytes) {
		return Value{}, fmt.Errorf("%w: %d bytes, over the limit of %d", ErrReply, n, r.limits.Bytes)
	}
	r.left.Bytes -= int(n)
	var text bytes.Buffer
	if _, err := io.CopyN(&text, r.src, n); err != nil {
		return Value{}, err
	}
	var end [2]byte
	if _, err := io.ReadFull(r.src, end[:]); err != nil {
		return Value{}, err
	}
	if end != [2]byte{'\r', '\n'} {
		return Value{}, fmt.Errorf("%w: %q where CRLF ends a string", ErrReply, end[:])
	}
	if b := text.Bytes(); kind == Verbatim && b[3] != ':' {
		return Value{}, fmt.Errorf("%w: a verbatim text without its format", ErrReply)
	}
	return Value{Kind: kind, Text: text.String()}, nil
}

func (r *ReplyReader) aggregate(kind Kind, length []byte, depth int) (Value, error) {
	n, ok := ParseInt(length)
	if ok && n == -1 && kind == Array {
		return Value{Kind: NullArray}, nil
	}
	if !ok || n < 0 || n > int64(r.left.Elems) {
		return Value{}, fmt.Errorf("%w: %.64q elements", ErrReply, length)
	}
	switch kind {
	case Map:
		n *= 2
	case Attribute:
		n = 2*n + 1
	}
	v := Value{Kind: kind}
	for range n {
		e, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Elems = append(v.Elems, e)
	}
	return v, nil
}

// line reads a line, without its end.
func (r *ReplyReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.src.ReadSlice('\n')
		line = append(line, part...)
		if r.left.Bytes -= len(part); r.left.Bytes < 0 {
			return nil, fmt.Errorf("%w: over the limit of %d bytes", ErrReply, r.limits.Bytes)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	whole, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(whole, '\r') >= 0 {
		return nil, fmt.Errorf("%w: a line end that is not CRLF", ErrReply)
	}
	return whole, nil
}

// NextReply returns the length of the first answer in b, which must hold it
// whole: [io.ErrUnexpectedEOF] if it does not.
func NextReply(b []byte) (n int, err error) {
	for open := int64(1); open > 0; open-- {
		line, _, ok := bytes.Cut(b[n:], []byte("\r\n"))
		if !ok {
			return 0, io.ErrUnexpectedEOF
		}
		if len(line) == 0 {
			return 0, fmt.Errorf("%w: an empty line", ErrReply)
		}
		n += len(line) + 2
		text, elems, err := extent(Kind(line[0]), line[1:])
		if err != nil {
			return 0, err
		}
		if text > int64(len(b)-n) || elems > int64(len(b)) {
			return 0, io.ErrUnexpectedEOF
		}
		n += int(text)
		open += elems
	}
	return n, nil
}

// extent says how much follows the first line of an answer: bytes, or elements.
func extent(kind Kind, length []byte) (text, elems int64, err error) {
	switch kind {
	case Bulk, BulkError, Verbatim, Array, Set, Push, Map, Attribute:
	default:
		return 0, 0, nil
	}
	n, ok := ParseInt(length)
	switch {
	case !ok || n < -1 || n > 1<<40:
		return 0, 0, fmt.Errorf("%w: length %.64q", ErrReply, length)
	case n == -1:
		return 0, 0, nil
	}
	switch kind {
	case Bulk, BulkError, Verbatim:
		return n + 2, 0, nil
	case Map:
		return 0, 2 * n, nil
	case Attribute:
		return 0, 2*n + 1, nil
	default:
		return 0, n, nil
	}
}
