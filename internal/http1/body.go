package http1

import (
	"io"
	"strconv"
)

// Body reads the content of one message from its connection.
type Body struct {
	r       *Reader
	length  int64 // as in Message
	left    int64 // bytes until the end of the content, or of the chunk
	begun   bool  // a chunk was read, whose end comes next
	ended   bool
	tail    []byte
	trailer []Field
}

// Reset makes b read the body of the message whose head r has just read.
func (b *Body) Reset(r *Reader, length int64) {
	*b = Body{r: r, length: length, left: max(length, 0), ended: length == 0, tail: b.tail[:0], trailer: b.trailer[:0]}
}

// Next returns the next bytes of the content, at least one, valid until the
// next call; and io.EOF once it has ended as it should. io.ErrUnexpectedEOF is
// a connection that ended before, an Error a content that does not keep to its
// framing.
func (b *Body) Next() ([]byte, error) {
	if b.ended {
		return nil, io.EOF
	}
	switch b.length {
	case Chunked:
		return b.nextOfChunks()
	case ToEnd:
		p, err := b.r.take(lastBuffer)
		b.ended = err == io.EOF
		return p, err
	}
	p, err := b.r.take(b.left)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.left -= int64(len(p))
	b.ended = b.left == 0
	return p, err
}

// Ended reports whether all was read.
func (b *Body) Ended() bool { return b.ended }

// Ready reports whether Next has bytes, or the end, to give without waiting for
// the connection; a chunk whose head is half there may still wait.
func (b *Body) Ready() bool { return b.ended || b.r.Buffered() > 0 }

// Trailer returns the fields behind the content, once Next has returned io.EOF.
// They are valid until the next Reset.
func (b *Body) Trailer() []Field { return b.trailer }

func (b *Body) nextOfChunks() ([]byte, error) {
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return nil, err
		}
		if b.ended {
			return nil, io.EOF
		}
	}
	p, err := b.r.take(b.left)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.left -= int64(len(p))
	return p, err
}

// nextChunk reads the line before a chunk, and behind the last chunk the
// trailer.
func (b *Body) nextChunk() error {
	if b.begun {
		if _, err := b.r.line(0); err != nil { // nothing but the end of a line
			return err
		}
	}
	line, err := b.r.line(maxLine)
	if err != nil {
		return err
	}
	if b.left, err = parseChunkSize(line); err != nil {
		return err
	}
	b.begun = true
	if b.left == 0 {
		return b.readTrailer()
	}
	return nil
}

// parseChunkSize reads hexadecimal digits; behind them only a semicolon and
// extensions, which are dropped, as RFC 9112 (section 7.1.1) has it for those
// that the receiver does not know.
func parseChunkSize(line []byte) (n int64, err error) {
	i := 0
	for ; i < len(line) && hex(line[i]) >= 0; i++ {
		if n >= 1<<58 {
			return 0, malformed("a chunk's size is too large")
		}
		n = n<<4 | int64(hex(line[i]))
	}
	if i == 0 || i > 16 {
		return 0, malformed("a chunk's size is no hexadecimal number")
	}
	if rest := line[i:]; len(rest) > 0 {
		if rest[0] != ';' {
			return 0, malformed("behind a chunk's size only extensions are accepted")
		}
		for _, c := range rest {
			if !inValue[c] {
				return 0, malformed("a chunk's extension holds a control character")
			}
		}
	}
	return n, nil
}

// readTrailer reads the fields behind the last chunk. What frames, routes or
// authenticates a message has no place there.
func (b *Body) readTrailer() error {
	for {
		line, err := b.r.line(maxTail)
		if err != nil {
			return err
		}
		b.tail = append(append(b.tail, line...), "\r\n"...)
		if len(b.tail) > maxTail {
			return refuse(431, "the trailer is longer than %d bytes", maxTail)
		}
		if len(line) == 0 {
			break
		}
	}
	b.ended = true
	var err error
	b.trailer, err = parseFields(b.trailer, b.tail)
	return err
}

// AppendChunk appends p, which must not be empty, as one chunk.
func AppendChunk(out, p []byte) []byte {
	out = AppendChunkSize(out, len(p))
	return append(append(out, p...), "\r\n"...)
}

// AppendChunkSize appends the line before a chunk of n bytes.
func AppendChunkSize(out []byte, n int) []byte {
	return append(strconv.AppendUint(out, uint64(n), 16), "\r\n"...)
}

// AppendField appends one field line.
func AppendField[N, V []byte | string](out []byte, name N, value V) []byte {
	out = append(append(out, name...), ": "...)
	return append(append(out, value...), "\r\n"...)
}
