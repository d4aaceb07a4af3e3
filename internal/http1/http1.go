// Package http1 reads HTTP/1.1 messages from a connection, strictly, and keeps
// them as the bytes that they are.
//
// A proxy and the server behind it must see the same requests in the same
// bytes. Where they do not, a part of one client's body becomes another
// client's request (request smuggling). So there is one way to read a message
// here, and whatever has a second one is refused: a length given twice or
// beside a transfer coding, a line that ends in a bare LF, a folded field, a
// space before a colon, two hosts, a host that contradicts the target. What
// this package accepts, net/http reads the same way; a fuzz test holds that.
//
// One message in it:
//
//  1. Reader collects bytes until the empty line that ends the head, looking at
//     each line once, and refuses a bad line ending at once.
//  2. The head is copied out of the buffer and taken apart in place: method,
//     target, fields are slices of the copy. A field of the protocol's own
//     carries its Kind, so that names are compared once.
//  3. The framing follows from the head alone (RFC 9112, section 6): a length,
//     chunks, nothing, or, for answers, until the end.
//  4. Body hands the content out piece by piece, straight from the buffer, and
//     refuses what does not keep to the framing.
//
// The package opens no socket and knows no time: the owner of the connection
// bounds both.
package http1

import (
	"bytes"
	"fmt"
	"io"
)

// Limits of what is read. A message beyond them is refused.
const (
	MaxHead   = 64 << 10 // bytes of a message's head
	MaxFields = 200      // fields in a head or a trailer
	// Bytes of the line before a chunk: 16 digits and its extensions, which
	// mean nothing to us.
	maxLine = 1 << 10
	maxTail = 8 << 10 // bytes of a trailer
)

// Error says why a message was refused, and by which status a server answers
// such a request.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func refuse(status int, format string, args ...any) error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// malformed is a request that has no meaning, or two.
func malformed(format string, args ...any) error { return refuse(400, format, args...) }

// Reader reads messages, one after another, from one connection. Its zero value
// with a source is ready for use.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int    // buf[r:w] was received and not taken yet
	head []byte // the copy that the last head's slices point into
}

// firstBuffer holds most heads, and is what an idle connection costs; a body
// grows it to lastBuffer.
const (
	firstBuffer = 4 << 10
	lastBuffer  = 32 << 10
)

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Buffered is how many bytes were received and not taken yet.
func (b *Reader) Buffered() int { return b.w - b.r }

// Take returns all that was received and not taken yet. It is valid until the
// next read.
func (b *Reader) Take() []byte {
	p := b.buf[b.r:b.w]
	b.r = b.w
	return p
}

// Fill waits for more bytes. The buffer grows only when it is full of bytes
// that did arrive.
func (b *Reader) Fill() error {
	switch {
	case b.buf == nil:
		b.buf = make([]byte, firstBuffer)
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w == len(b.buf) && b.r > 0:
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
	case b.w == len(b.buf):
		b.buf = append(b.buf, make([]byte, len(b.buf))...)
	}
	n, err := b.src.Read(b.buf[b.w:])
	b.w += n
	if n > 0 {
		return nil // an error that came with bytes comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// widen makes the buffer fit for a large body, if it is empty.
func (b *Reader) widen() {
	if b.r == b.w && len(b.buf) < lastBuffer {
		b.buf, b.r, b.w = make([]byte, lastBuffer), 0, 0
	}
}

var protocol = []byte("HTTP/")

// readHead collects a head, its last empty line included, into b.head.
func (b *Reader) readHead() error {
	seen := 0 // bytes of buf[r:w] that are whole lines
	for {
		for {
			line := b.buf[b.r+seen : b.w]
			end, err := lineEnd(line)
			if err != nil {
				return err
			}
			if end < 0 {
				break
			}
			if seen == 0 && end > MaxHead {
				return refuse(414, "the first line is longer than %d bytes", MaxHead)
			}
			if seen == 0 && !bytes.Contains(line[:end], protocol) {
				// Another protocol, whose sender may wait for this side to
				// speak.
				return malformed("the first line names no version of HTTP")
			}
			seen += end
			if end == len("\r\n") {
				b.head = append(b.head[:0], b.buf[b.r:b.r+seen]...)
				b.r += seen
				return nil
			}
			if seen > MaxHead {
				return refuse(431, "the head is longer than %d bytes", MaxHead)
			}
		}
		if b.Buffered() > MaxHead {
			if seen == 0 {
				return refuse(414, "the first line is longer than %d bytes", MaxHead)
			}
			return refuse(431, "the head is longer than %d bytes", MaxHead)
		}
		if b.Buffered() > 0 && !tokens[b.buf[b.r]] {
			// TLS on the wrong port, say, or an empty line.
			return malformed("a message begins with a method or a version")
		}
		had := b.Buffered()
		if err := b.Fill(); err != nil {
			if err == io.EOF && had > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// line returns the next line without its end, waiting for it if need be. The
// slice is valid until the next read.
func (b *Reader) line(most int) ([]byte, error) {
	for {
		end, err := lineEnd(b.buf[b.r:b.w])
		switch {
		case err != nil:
			return nil, err
		case end > most+2, end < 0 && b.Buffered() > most+2:
			return nil, malformed("a line of the body's framing is longer than %d bytes", most)
		case end >= 0:
			line := b.buf[b.r : b.r+end-2]
			b.r += end
			return line, nil
		}
		if err := b.fillBody(); err != nil {
			return nil, err
		}
	}
}

// fillBody is Fill where the message must go on.
func (b *Reader) fillBody() error {
	err := b.Fill()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns between one and most bytes of a body.
func (b *Reader) take(most int64) ([]byte, error) {
	if b.r == b.w {
		if most > firstBuffer {
			b.widen()
		}
		if err := b.Fill(); err != nil {
			return nil, err
		}
	}
	n := int(min(most, int64(b.w-b.r)))
	p := b.buf[b.r : b.r+n]
	b.r += n
	return p, nil
}
