package census

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

func boot(name string, n int) member.ID {
	return member.ID{Name: name, Boot: fmt.Sprintf("%012x0123456789abcdef", n)}
}

// draw makes books of few names, partitions and moments, so that they collide.
func draw(r *rand.Rand) *books {
	b := newBooks()
	for range r.IntN(6) {
		a := &absence{id: boot(string(rune('a'+r.IntN(3))), r.IntN(3)), role: member.RoleNode, ended: r.IntN(2) == 0, settled: r.IntN(2) == 0, written: uint64(r.IntN(3)), since: r.Int64N(2), seen: r.Int64N(2)}
		if r.IntN(4) == 0 {
			a.role = member.RoleRouter
			a.id.Name = "r"
		}
		b.putAbsence(a)
	}
	for range r.IntN(6) {
		l := &loss{sessions: r.Uint32N(3), written: uint64(r.IntN(3))}
		for range r.IntN(maxHolders + 1) {
			l.holders = append(l.holders, boot(string(rune('a'+r.IntN(3))), 1))
		}
		b.putLoss(r.IntN(3), l)
	}
	return b
}

func merged(list ...*books) []byte {
	b := newBooks()
	for _, other := range list {
		b.merge(other)
	}
	return b.encode()
}

// Members agree whatever the order in which they hear, and however often.
func TestBooksMerge(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		a, b, c := draw(r), draw(r), draw(r)
		all := merged(a, b, c)
		require.Equal(t, all, merged(c, b, a))
		require.Equal(t, all, merged(b, a, b, c, a))
		ab, err := decodeBooks(merged(a, b))
		require.NoError(t, err)
		require.Equal(t, all, merged(c, ab))
		require.False(t, ab.merge(a), "it has all of a")
	}
}

// The books have one form, which is read as it was written; nothing else is.
func TestBooksOnTheWire(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		encoded := draw(r).encode()
		b, err := decodeBooks(encoded)
		require.NoError(t, err)
		require.Equal(t, encoded, b.encode())
		for n := range encoded {
			_, err := decodeBooks(encoded[:n])
			require.ErrorIs(t, err, errBooks, "%d of %d bytes", n, len(encoded))
		}
		_, err = decodeBooks(append(encoded, 0))
		require.ErrorIs(t, err, errBooks)
	}
}

func FuzzBooks(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		f.Add(draw(r).encode())
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		b, err := decodeBooks(encoded)
		if err != nil {
			require.ErrorIs(t, err, errBooks)
			return
		}
		again, err := decodeBooks(b.encode())
		require.NoError(t, err)
		require.Equal(t, b.encode(), again.encode())
	})
}

// The largest books fit into a section of a heartbeat beside the largest counts.
// Of too many names those go first that are settled, and then the oldest.
func TestBooksAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60)
	b := newBooks()
	for i := range 2 * maxAbsences {
		b.putAbsence(&absence{id: boot(fmt.Sprintf("%s%04d", long, i), i), role: member.RoleNode, settled: i%2 == 1, written: uint64(i + 1)})
	}
	require.Len(t, b.absences, maxAbsences)
	for name, a := range b.absences {
		require.False(t, a.settled, name)
	}
	b.putAbsence(&absence{id: boot("late", 1), role: member.RoleNode, written: 1 << 20})
	require.Len(t, b.absences, maxAbsences)
	require.NotContains(t, b.absences, long+"0000")
	for p := range ring.Partitions {
		b.putLoss(p, &loss{sessions: 1 << 31, written: 1, holders: []member.ID{boot(long, 3*p), boot(long, 3*p+1), boot(long, 3*p+2)}})
	}
	encoded := b.encode()
	r := report{counts: make(map[int]told)}
	for p := range ring.Partitions {
		r.counts[p] = told{sessions: 1<<32 - 1, known: true, hearsay: true}
	}
	require.Less(t, 4+len(encoded)+len(r.encode()), 1<<16)
	back, err := decodeBooks(encoded)
	require.NoError(t, err)
	require.Equal(t, encoded, back.encode(), "who reads it has the same hash")
}

// A clock that was set back, or one that is ahead, does not keep what comes
// later from counting.
func TestWhatIsWrittenLaterCounts(t *testing.T) {
	t.Parallel()
	require.Equal(t, uint64(100), later(100, 5))
	require.Equal(t, uint64(501), later(100, 500))
	require.Equal(t, uint64(1), later(-3, 0))
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := &report{memory: memory{used: 5, limit: 1 << 40}, counts: map[int]told{0: {sessions: 1, known: true}, 1: {sessions: 63, known: true, hearsay: true}, 1023: {sessions: 1<<32 - 1, known: true}}}
	back, err := decodeReport(r.encode())
	require.NoError(t, err)
	require.Equal(t, r, back)
	empty, err := decodeReport((&report{}).encode())
	require.NoError(t, err)
	require.Empty(t, empty.counts)
	head := r.encode()[:reportHead]
	for name, bad := range map[string][]byte{
		"short":              head[:reportHead-1],
		"a negative size":    append([]byte{0x80, 0, 0, 0, 0, 0, 0, 0}, head[8:]...),
		"no sessions":        append(head[:reportHead:reportHead], 0),
		"a partition beyond": append(head[:reportHead:reportHead], 0x80, 8, 0), // 1024
		"too many sessions":  append(head[:reportHead:reportHead], 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1),
	} {
		_, err := decodeReport(bad)
		require.ErrorIs(t, err, errReport, name)
	}

	// What a node of three says each two seconds.
	usual := report{counts: make(map[int]told)}
	for p := 0; p < ring.Partitions; p += 3 {
		usual.counts[p] = told{sessions: 300, known: true}
	}
	require.LessOrEqual(t, len(usual.encode()), 3*342+reportHead)
}
