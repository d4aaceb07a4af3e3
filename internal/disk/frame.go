package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/seed-95a32959/holdfast/session"
)

const (
	magic       = 0xf1d5_70e5
	frameHeader = 12
	// maxFrame bounds the length that a frame may claim: more than the largest
	// session with the most of everything around it.
	maxFrame = 1 << 30
	// BatchBytes is how large a batch should grow before it is appended.
	BatchBytes = 256 << 10
)

var (
	order    = binary.LittleEndian
	magicSet = order.AppendUint32(nil, magic)
	table    = crc32.MakeTable(crc32.Castagnoli)
)

// What a batch consists of: a byte that says what follows, and that.
const (
	opPut    = iota + 1 // a record, as session.Record.AppendMoved writes it
	opForget            // uvarint length of the key | key
	opClear             // uvarint partition
	opEnd               // uvarint records: a base is whole
)

// Batch is what is appended together: after a crash all of it is there, or
// nothing. The zero Batch is empty.
type Batch struct {
	frame   []byte // with room for its header
	changes int
}

func (b *Batch) op(op byte) {
	if len(b.frame) == 0 {
		b.frame = append(b.frame, make([]byte, frameHeader)...)
	}
	b.frame = append(b.frame, op)
	b.changes++
}

// Put says that a session or its tombstone is held.
func (b *Batch) Put(rec *session.Record) {
	b.op(opPut)
	b.frame = rec.AppendMoved(b.frame)
}

// Forget says that nothing is held under a key any more.
func (b *Batch) Forget(key string) {
	b.op(opForget)
	b.frame = append(binary.AppendUvarint(b.frame, uint64(len(key))), key...)
}

// Clear says that nothing is held of a partition any more.
func (b *Batch) Clear(partition int) {
	b.op(opClear)
	b.frame = binary.AppendUvarint(b.frame, uint64(partition))
}

// Len returns how many changes there are, and Bytes how many bytes they take.
func (b *Batch) Len() int   { return b.changes }
func (b *Batch) Bytes() int { return len(b.frame) }

// Reset empties the batch. It keeps its memory, unless that is much.
func (b *Batch) Reset() {
	b.changes, b.frame = 0, b.frame[:0]
	if cap(b.frame) > 4*BatchBytes {
		b.frame = nil
	}
}

// seal writes the header and returns the frame.
func (b *Batch) seal() []byte {
	body := b.frame[frameHeader:]
	order.PutUint32(b.frame, magic)
	order.PutUint32(b.frame[4:], uint32(len(body)))
	order.PutUint32(b.frame[8:], sumOf(b.frame[4:8], body))
	return b.frame
}

func sumOf(length, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, table, length), table, body)
}

// Replayer is given what a journal has, in the order in which it came.
type Replayer interface {
	Put(rec *session.Record) error
	Forget(key string)
	Clear(partition int)
}

// errBody says that a frame fits its sum and cannot be read: another version
// has written it, or ours was wrong.
var errBody = errors.New("a frame that is whole cannot be read")

// replay hands out what a frame's body has. records counts those of an opEnd.
func replay(body []byte, to Replayer, end *uint64) error {
	for len(body) > 0 {
		op := body[0]
		body = body[1:]
		if op == opPut {
			rec, n, err := session.DecodeRecord(body)
			if err != nil {
				return fmt.Errorf("%w: %w", errBody, err)
			}
			if err := to.Put(rec); err != nil {
				return err
			}
			body = body[n:]
			continue
		}
		v, n := binary.Uvarint(body)
		if n <= 0 {
			return errBody
		}
		body = body[n:]
		switch op {
		case opForget:
			if v > uint64(len(body)) {
				return errBody
			}
			to.Forget(string(body[:v]))
			body = body[v:]
		case opClear:
			if v > 1<<16 {
				return errBody
			}
			to.Clear(int(v))
		case opEnd:
			*end = v + 1
		default:
			return fmt.Errorf("%w: it has a change of kind %d, known are 1 to %d", ErrNewer, op, opEnd)
		}
	}
	return nil
}

// scanner finds the frames of one file.
type scanner struct {
	r    io.Reader
	buf  []byte
	at   int   // of the next byte in buf
	base int64 // where in the file buf begins
	err  error // of r
}

func newScanner(r io.Reader) *scanner { return &scanner{r: r, buf: make([]byte, 0, 128<<10)} }

// fill has n bytes or more in buf behind at, unless the file ends before.
func (s *scanner) fill(n int) bool {
	for len(s.buf)-s.at < n && s.err == nil {
		if s.at > 0 {
			s.base += int64(s.at)
			s.buf = s.buf[:copy(s.buf, s.buf[s.at:])]
			s.at = 0
		}
		if cap(s.buf)-len(s.buf) < n-len(s.buf)+1 {
			s.buf = append(make([]byte, 0, max(2*cap(s.buf), n+1)), s.buf...)
		}
		var k int
		k, s.err = s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+k]
	}
	return len(s.buf)-s.at >= n
}

// offset is where in the file the next byte is.
func (s *scanner) offset() int64 { return s.base + int64(s.at) }

// frame returns the body of the frame that begins here, if one does that is
// whole. It is valid until the next call.
func (s *scanner) frame() (body []byte, ok bool) {
	if !s.fill(frameHeader) || order.Uint32(s.buf[s.at:]) != magic {
		return nil, false
	}
	n := int(order.Uint32(s.buf[s.at+4:]))
	if n == 0 || n > maxFrame || !s.fill(frameHeader+n) {
		return nil, false
	}
	head := s.buf[s.at : s.at+frameHeader]
	body = s.buf[s.at+frameHeader : s.at+frameHeader+n]
	if order.Uint32(head[8:]) != sumOf(head[4:8], body) {
		return nil, false
	}
	s.at += frameHeader + n
	return body, true
}

// next returns the next frame that is whole, and how many bytes before it are
// not. At the end of the file body is nil.
func (s *scanner) next() (body []byte, skipped int64) {
	from := s.offset()
	for {
		if body, ok := s.frame(); ok {
			return body, s.offset() - from - int64(frameHeader+len(body))
		}
		if !s.fill(1) {
			return nil, s.offset() - from
		}
		s.at++ // what begins here is no frame
		for {
			if i := bytes.Index(s.buf[s.at:], magicSet); i >= 0 {
				s.at += i
				break
			}
			s.at = max(s.at, len(s.buf)-len(magicSet)+1)
			if !s.fill(len(magicSet)) {
				s.at = len(s.buf)
				break
			}
		}
	}
}
