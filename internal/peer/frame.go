package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// A frame is
//
//	u32 length | u8 type | u64 seq | payload
//
// big endian, where length counts what follows it. A reply carries the seq of
// its request.
const (
	lengthSize = 4
	headerSize = lengthSize + 1 + 8
)

// FirstReserved is the first of the frame types that the link itself uses.
// Requests have the types below it.
const FirstReserved = 0xF0

const (
	typeHello  = FirstReserved + iota // who is there: the first frame of each side
	typeRefuse                        // the sender will not talk to the receiver: text
	typeReply                         // answer to a request
	typeFail                          // error in place of an answer: text
	// The caller of the request of this seq waits no more: no payload.
	typeCancel
)

const (
	// readBuffer is enough for some 200 small frames from one read.
	readBuffer = 64 << 10
	// greetingBuffer is enough for most HELLOs.
	greetingBuffer = 512
	// firstStep is as much as is allocated on the word of a header alone; more
	// only as the bytes arrive.
	firstStep = 64 << 10
	// growth is the ratio of what is allocated for a frame to what of it has
	// arrived: 4 copies a third of a large frame, where 2 would copy all of it
	// once.
	growth = 4
)

type header struct {
	typ  byte
	seq  uint64
	size int // of the payload
}

// appendFrame appends one whole frame to b.
func appendFrame(b []byte, typ byte, seq uint64, payload []byte) []byte {
	b = slices.Grow(b, headerSize+len(payload)) // once, not for each part
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize-lengthSize+len(payload)))
	b = append(b, typ)
	b = binary.BigEndian.AppendUint64(b, seq)
	return append(b, payload...)
}

// parseHeader reads the headerSize bytes of b. A payload over limit is an
// error.
func parseHeader(b []byte, limit int) (header, error) {
	length := uint64(binary.BigEndian.Uint32(b))
	h := header{typ: b[lengthSize], seq: binary.BigEndian.Uint64(b[lengthSize+1:])}
	if length < headerSize-lengthSize {
		return h, fmt.Errorf("%w: length %d, want at least %d", ErrMalformed, length, headerSize-lengthSize)
	}
	if length > uint64(headerSize-lengthSize+limit) {
		return h, fmt.Errorf("%w: length %d, want at most %d", ErrMalformed, length, headerSize-lengthSize+limit)
	}
	h.size = int(length) - (headerSize - lengthSize)
	return h, nil
}

// frameReader reads frames in two halves, so that the server can wait for room
// between the size and the bytes.
type frameReader struct {
	from  *bufio.Reader
	limit int // largest payload
	// deadline sets one for the next part of a large frame, or none: a peer
	// that stops in the middle must not keep what was taken for it. Nil if
	// there is another one.
	deadline func(on bool) error
}

func newFrameReader(r io.Reader, limit int) *frameReader {
	return &frameReader{from: bufio.NewReaderSize(r, readBuffer), limit: limit}
}

// newGreetingReader is for the other side's first frame, which is small and may
// be a stranger's.
func newGreetingReader(r io.Reader) *frameReader {
	return &frameReader{from: bufio.NewReaderSize(r, greetingBuffer), limit: maxHello}
}

// grown returns a reader with a large buffer and large frames, which resumes
// where f, which reads from conn, has stopped.
func (f *frameReader) grown(conn net.Conn, cfg Config) *frameReader {
	r := io.Reader(conn)
	if n := f.from.Buffered(); n > 0 {
		ahead, _ := f.from.Peek(n) // they are there
		r = io.MultiReader(bytes.NewReader(ahead), r)
	}
	grown := newFrameReader(r, cfg.MaxFrame)
	grown.deadline = func(on bool) error {
		if !on {
			return conn.SetReadDeadline(time.Time{})
		}
		return conn.SetReadDeadline(time.Now().Add(cfg.WriteTimeout))
	}
	return grown
}

// ready says whether the next frame has arrived whole, so that reading it does
// not wait. A frame that is larger than the buffer never has.
func (f *frameReader) ready() bool {
	if f.from.Buffered() < headerSize {
		return false
	}
	b, _ := f.from.Peek(headerSize) // they are there
	h, err := parseHeader(b, f.limit)
	return err == nil && f.from.Buffered() >= headerSize+h.size
}

// header returns the next frame's header. It returns io.EOF itself when the
// stream ends between frames.
func (f *frameReader) header() (header, error) {
	b, err := f.from.Peek(headerSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return header{}, err
	}
	h, err := parseHeader(b, f.limit)
	if err != nil {
		return header{}, err
	}
	_, err = f.from.Discard(headerSize)
	return h, err
}

// skip passes over the size bytes that follow a header.
func (f *frameReader) skip(size int) error {
	if n, err := f.from.Discard(size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("frame cut off after %d of %d bytes: %w", n, size, err)
	}
	return nil
}

// payload returns the size bytes that follow a header, in memory of their own.
// A header may lie: allocated is firstStep, then at most growth times what has
// arrived.
func (f *frameReader) payload(size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, min(size, firstStep))
	slow := f.deadline != nil && size > smallRequest && size > f.from.Buffered()
	for arrived := 0; ; {
		if slow {
			if err := f.deadline(true); err != nil {
				return nil, err
			}
		}
		n, err := io.ReadFull(f.from, b[arrived:min(len(b), arrived+writeStep)])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("frame cut off after %d of %d bytes: %w", arrived+n, size, err)
		}
		arrived += n
		switch {
		case arrived == size && slow:
			return b, f.deadline(false)
		case arrived == size:
			return b, nil
		case arrived == len(b):
			larger := make([]byte, min(size, growth*arrived))
			copy(larger, b)
			b = larger
		}
	}
}
