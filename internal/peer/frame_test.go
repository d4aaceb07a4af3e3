package peer

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// readFrame reads a whole frame.
func readFrame(in *frameReader) (header, []byte, error) {
	h, err := in.header()
	if err != nil {
		return h, nil, err
	}
	payload, err := in.payload(h.size)
	return h, payload, err
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type sent struct {
			typ     byte
			seq     uint64
			payload []byte
		}
		var frames []sent
		var stream []byte
		for range rapid.IntRange(0, 5).Draw(t, "frames") {
			f := sent{rapid.Byte().Draw(t, "type"), rapid.Uint64().Draw(t, "seq"), make([]byte, rapid.IntRange(0, 3*firstStep).Draw(t, "size"))}
			if len(f.payload) > 0 {
				f.payload[0], f.payload[len(f.payload)-1] = 'a', 'z'
			}
			frames = append(frames, f)
			stream = appendFrame(stream, f.typ, f.seq, f.payload)
		}
		in := newFrameReader(iotest.HalfReader(bytes.NewReader(stream)), 3*firstStep)
		for _, want := range frames {
			h, payload, err := readFrame(in)
			require.NoError(t, err)
			require.Equal(t, header{want.typ, want.seq, len(want.payload)}, h)
			require.True(t, bytes.Equal(want.payload, payload))
		}
		_, err := in.header()
		require.Equal(t, io.EOF, err)
	})
}

func TestFrameCutAnywhereIsAnError(t *testing.T) {
	whole := appendFrame(nil, 7, 9, []byte("payload"))
	for n := 1; n < len(whole); n++ {
		_, _, err := readFrame(newFrameReader(bytes.NewReader(whole[:n]), 100))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut after %d bytes", n)
	}
}

func TestFrameLengthsThatCannotBe(t *testing.T) {
	for _, length := range []uint32{0, 1, headerSize - lengthSize - 1, headerSize - lengthSize + 101, math.MaxInt32, math.MaxUint32} {
		b := appendFrame(nil, 1, 1, make([]byte, 100))
		binary.BigEndian.PutUint32(b, length)
		_, _, err := readFrame(newFrameReader(bytes.NewReader(b), 100))
		require.ErrorIs(t, err, ErrMalformed, "length %d", length)
	}
	_, payload, err := readFrame(newFrameReader(bytes.NewReader(appendFrame(nil, 1, 1, make([]byte, 100))), 100))
	require.NoError(t, err)
	require.Len(t, payload, 100)
}

// A header's word alone must not cost memory: here it promises 1 GiB, and
// 100,000 bytes come.
func TestFrameAllocatesOnlyAsBytesArrive(t *testing.T) {
	const promised, sent = 1 << 30, 100_000
	stream := append([]byte(nil), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1)
	binary.BigEndian.PutUint32(stream, headerSize-lengthSize+promised)
	stream = append(stream, make([]byte, sent)...)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readFrame(newFrameReader(bytes.NewReader(stream), promised))
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "after 100000 of 1073741824 bytes")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// FuzzFrames feeds the reader any bytes: it must not panic, and whatever it
// accepts must be the bytes that it read.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(appendFrame(appendFrame(nil, 1, 1, []byte("one")), typeReply, math.MaxUint64, nil))
	f.Add(appendFrame(nil, 1, 1, []byte("cut"))[:10])
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 1 << 10
		in := newFrameReader(bytes.NewReader(stream), limit)
		var again []byte
		for {
			h, payload, err := readFrame(in)
			if err != nil {
				require.True(t, bytes.HasPrefix(stream, again))
				return
			}
			require.LessOrEqual(t, len(payload), limit)
			again = appendFrame(again, h.typ, h.seq, payload)
		}
	})
}
