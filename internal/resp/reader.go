package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	firstBuffer = 4 << 10  // of a new connection; most have little to say
	keepBuffer  = 64 << 10 // what a connection may keep between commands
	keepArgs    = 1 << 10
)

// Reader cuts commands out of what a client sends. It is used by turns:
// [Reader.Next] or [Reader.Several] until it has none left, then [Reader.Fill].
// In between, all commands of a pipeline have been seen without a further read.
type Reader struct {
	src    io.Reader
	limits Limits
	room   func(bytes int) bool // see SetRoom
	err    error                // what Next returned and will return again

	buf        []byte
	start, end int  // buf[start:end] has arrived and is not yet cut into commands
	full       bool // the last read filled buf: there was probably more

	// The command that begins at start, as far as it is known. Positions count
	// from start, for the buffer may move while the rest arrives.
	pos     int    // of what is looked at next
	scanned int    // bytes after pos that hold no line end
	begun   bool   // the number of arguments has been read
	left    int    // arguments still to come
	size    int    // bytes of the next one, -1 before its length has been read
	spans   []span // arguments that are there

	args     [][]byte   // of the commands returned last
	commands [][][]byte // of Several
}

type span struct{ from, to int }

// NewReader returns a Reader of commands from src.
func NewReader(src io.Reader, l Limits) *Reader {
	return &Reader{src: src, limits: l, size: -1}
}

// SetLimits changes the limits from the next command on.
func (r *Reader) SetLimits(l Limits) { r.limits = l }

// SetRoom has f asked before the Reader holds so many bytes more, and told, by
// a number below 0, when Fill has given some back. Where it returns false to
// the former, Fill fails with [ErrNoRoom].
func (r *Reader) SetRoom(f func(bytes int) bool) { r.room = f }

// ErrNoRoom is what Fill returns when it must not have a larger buffer.
var ErrNoRoom = errors.New("no room for what is read")

// Held returns how many bytes of memory the Reader has.
func (r *Reader) Held() int {
	const span, slice = 16, 24
	return len(r.buf) + span*cap(r.spans) + slice*(cap(r.args)+cap(r.commands))
}

// Trim gives back what the Reader holds beyond what a quiet client needs. It
// does nothing while a part of a command is there. What Next has returned must
// not be used any more.
func (r *Reader) Trim() {
	if r.start == r.end {
		clear(r.args[:cap(r.args)]) // the caller may hold it still, and by it the buffer
		clear(r.commands[:cap(r.commands)])
		r.buf, r.start, r.end = nil, 0, 0
		r.spans, r.args, r.commands = nil, nil, nil
	}
}

// Buffered returns how many bytes have arrived that Next has not returned.
func (r *Reader) Buffered() int { return r.end - r.start }

// Next returns the next command, its name first, if all of it has arrived, and
// nil if not. Commands without a name are passed over, as Redis does. The
// slices are the Reader's: the outer one until the next Next or Several, the
// inner ones, which may be written to, until the next Fill. An error is a
// [ProtocolError] or [ErrHTTP], and final.
func (r *Reader) Next() ([][]byte, error) {
	r.args = r.args[:0]
	return r.next()
}

// Several returns as many of the next commands as have arrived, n at most. It
// returns the error of a Next only in its place: when there is none before it.
func (r *Reader) Several(n int) ([][][]byte, error) {
	r.args, r.commands = r.args[:0], r.commands[:0]
	for len(r.commands) < n {
		args, err := r.next()
		if err != nil && len(r.commands) == 0 {
			return nil, err
		}
		if args == nil {
			break
		}
		r.commands = append(r.commands, args)
	}
	return r.commands, nil
}

func (r *Reader) next() ([][]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	for r.start < r.end {
		whole, err := r.command()
		if err != nil {
			r.err = err
			return nil, err
		}
		if !whole {
			return nil, nil
		}
		if args := r.take(); len(args) > 0 {
			return args, nil
		}
	}
	return nil, nil
}

// command looks at what has arrived of the command that begins at start.
func (r *Reader) command() (whole bool, err error) {
	if r.buf[r.start] != '*' {
		return r.inline()
	}
	if !r.begun {
		if ok, err := r.count(); !ok {
			return false, err
		}
	}
	for ; r.left > 0; r.left-- {
		if ok, err := r.argument(); !ok {
			return false, err
		}
	}
	return true, nil
}

// count reads the number of arguments, "*3\r\n".
func (r *Reader) count() (ok bool, err error) {
	line, err := r.line(errLongArgs)
	if line == nil {
		return false, err
	}
	n, valid := ParseInt(line[1:])
	switch {
	case !valid || n > math.MaxInt32:
		return false, errArgs
	case n > int64(r.limits.MaxArgs) && r.limits.anonymous:
		return false, errArgsAnonymous
	case n > int64(r.limits.MaxArgs):
		return false, tooMany(n, r.limits)
	}
	r.begun, r.left = true, int(max(n, 0))
	return true, nil
}

// argument reads one argument, "$5\r\nalice\r\n".
func (r *Reader) argument() (ok bool, err error) {
	if r.size < 0 {
		line, err := r.line(errLongBulk)
		if line == nil {
			return false, err
		}
		if err := r.length(line); err != nil {
			return false, err
		}
	}
	to := r.pos + r.size
	rest := r.buf[r.start:r.end]
	if len(rest) < to+2 {
		return false, nil
	}
	if rest[to] != '\r' || rest[to+1] != '\n' {
		return false, errEnd
	}
	r.spans = append(r.spans, span{r.pos, to})
	r.pos, r.size = to+2, -1
	return true, nil
}

// length reads an argument's length into size.
func (r *Reader) length(line []byte) error {
	if len(line) == 0 || line[0] != '$' {
		got := byte(' ') // an empty line: Redis puts no line end into an error
		if len(line) > 0 {
			got = line[0]
		}
		return ProtocolError(fmt.Sprintf("expected '$', got '%s'", []byte{got}))
	}
	n, valid := ParseInt(line[1:])
	switch {
	case !valid || n < 0:
		return errBulk
	case n > int64(r.limits.MaxBulk) && r.limits.anonymous:
		return errBulkAnonymous
	case n > int64(r.limits.MaxBulk):
		return tooLong(n, r.limits)
	case int64(r.pos)+n+2 > int64(r.limits.MaxQuery):
		return tooBig(r.limits)
	}
	r.size = int(n)
	return nil
}

// line returns the line at pos without its end, and moves pos behind it; nil
// if it has not arrived whole, with tooLong if it is too long to wait for.
func (r *Reader) line(tooLong ProtocolError) ([]byte, error) {
	rest := r.buf[r.start+r.pos : r.end]
	i := bytes.IndexByte(rest[r.scanned:], '\r')
	if i < 0 {
		if r.scanned = len(rest); r.scanned > maxLine {
			return nil, tooLong
		}
		return nil, nil
	}
	i += r.scanned
	if i+1 == len(rest) {
		r.scanned = i
		return nil, nil
	}
	if rest[i+1] != '\n' {
		return nil, errEnd
	}
	r.pos, r.scanned = r.pos+i+2, 0
	return rest[:i], nil
}

// take returns the command that begins at start, and moves start behind it.
func (r *Reader) take() [][]byte {
	begin := len(r.args)
	for _, s := range r.spans {
		r.args = append(r.args, r.buf[r.start+s.from:r.start+s.to:r.start+s.to])
	}
	r.spans = r.spans[:0]
	r.start += r.pos
	r.pos, r.scanned, r.begun = 0, 0, false
	return r.args[begin:len(r.args):len(r.args)]
}

// Fill waits for bytes and takes what one read gives. Its errors are the
// source's; a source that ends within a command gives [io.ErrUnexpectedEOF].
func (r *Reader) Fill() error {
	if !r.makeRoom() {
		return ErrNoRoom
	}
	for range 100 { // as bufio does with a source that returns nothing
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.full = r.end == len(r.buf)
		switch {
		case n > 0:
			return nil
		case err == io.EOF && r.start < r.end:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom frees the front of the buffer and grows it by as much as it holds,
// or shrinks it when it is empty, for one long command must not cost a
// connection memory for ever. It returns false if it may not grow.
func (r *Reader) makeRoom() bool {
	held := r.buf[r.start:r.end]
	size, before := len(r.buf), r.Held()
	switch {
	case size == 0:
		size = firstBuffer
	case len(held) == 0 && size > keepBuffer:
		size = keepBuffer / 4
		r.spans, r.args = trim(r.spans), trim(r.args)
		clear(r.args[:cap(r.args)]) // they lie in the buffer
		clear(r.commands[:cap(r.commands)])
	case len(held) == size, r.full && size < keepBuffer:
		size *= 2
	case r.start == 0:
		return true
	}
	if more := size - len(r.buf); more > 0 && r.room != nil && !r.room(more) {
		return false
	}
	next := r.buf
	if size != len(next) {
		next = make([]byte, size)
	}
	r.end = copy(next, held)
	r.buf, r.start = next, 0
	if less := r.Held() - before; less < 0 && r.room != nil {
		r.room(less)
	}
	return true
}

// trim drops a slice that has grown beyond what a connection may keep.
func trim[T any](s []T) []T {
	if cap(s) > keepArgs {
		return nil
	}
	return s
}
