package replication

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// dirtyModel is a dirty set as plainly as it can be said: all marks that the
// peer has not confirmed, each with its number and its time.
type dirtyModel struct {
	marks map[string][]modelMark // in order
	taken map[string]uint64      // newest mark under way
}

type modelMark struct {
	seq uint64
	at  time.Time
}

func (m *dirtyModel) oldest() (t time.Time) {
	for _, marks := range m.marks {
		if t.IsZero() || marks[0].at.Before(t) {
			t = marks[0].at
		}
	}
	return t
}

// confirm forgets the marks of key up to the one that was taken.
func (m *dirtyModel) confirm(key string) {
	left := m.marks[key]
	for len(left) > 0 && left[0].seq <= m.taken[key] {
		left = left[1:]
	}
	m.marks[key] = left
	if len(left) == 0 {
		delete(m.marks, key)
	}
}

// TestDirtySetAgainstModel marks, takes and settles at random. No mark is ever
// lost, none is confirmed that was made after its key was taken, keys leave
// oldest first, and the oldest age is right at every moment.
func TestDirtySetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDirtySet()
		model := dirtyModel{marks: make(map[string][]modelMark)}
		now := time.Unix(1, 0)
		var batch []*entry
		var lastSeq uint64
		t.Repeat(map[string]func(*rapid.T){
			"mark": func(t *rapid.T) {
				key := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key"))
				now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "ms")) * time.Millisecond)
				seq := d.add(key, now)
				require.Greater(t, seq, lastSeq)
				lastSeq = seq
				model.marks[key] = append(model.marks[key], modelMark{seq, now})
			},
			"take": func(t *rapid.T) {
				if len(batch) > 0 {
					t.Skip("a batch is under way")
				}
				n := rapid.IntRange(1, 6).Draw(t, "n")
				batch = d.take(n)
				require.Len(t, batch, min(n, len(model.marks)), "as many as there are")
				model.taken = make(map[string]uint64)
				for i, e := range batch {
					marks := model.marks[e.key]
					require.NotEmpty(t, marks)
					require.Equal(t, marks[len(marks)-1].seq, e.taken)
					require.Equal(t, marks[0].at, e.since)
					require.NotContains(t, model.taken, e.key)
					model.taken[e.key] = e.taken
					if i > 0 {
						require.False(t, e.since.Before(batch[i-1].since), "oldest first")
					}
				}
				for key, marks := range model.marks {
					if _, taken := model.taken[key]; !taken && len(batch) > 0 {
						require.False(t, marks[0].at.Before(batch[len(batch)-1].since), "%s was passed over", key)
					}
				}
			},
			"settle": func(t *rapid.T) {
				if len(batch) == 0 {
					t.Skip("no batch is under way")
				}
				n := rapid.IntRange(0, len(batch)).Draw(t, "confirmed")
				for _, e := range batch[:n] {
					model.confirm(e.key)
				}
				d.settle(n)
				batch = nil
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model.marks), d.len())
				require.Equal(t, model.oldest(), d.oldest())
			},
		})
		d.settle(0)
		left := make(map[string]bool)
		for _, e := range d.take(100) {
			left[e.key] = true
		}
		require.Len(t, left, len(model.marks))
		for key := range model.marks {
			require.True(t, left[key], "the mark of %s is lost", key)
		}
	})
}

// TestFailedKeyMarkedAgainKeepsItsAge: a key that comes back stands before
// those that were marked while it was under way, though it was marked again
// after them.
func TestFailedKeyMarkedAgainKeepsItsAge(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	d := newDirtySet()
	d.add("a", at(1))
	d.take(9)
	d.add("b", at(2))
	d.add("a", at(3))
	require.Equal(t, 2, d.len())
	d.settle(0)
	require.Equal(t, at(1), d.oldest())
	batch := d.take(9)
	require.Equal(t, "a", batch[0].key)
	require.Equal(t, uint64(3), batch[0].taken)
	d.add("a", at(4))
	d.settle(2)
	require.Equal(t, at(4), d.oldest(), "what is left is the mark of 4 ms")
	require.Equal(t, 1, d.len())
}

// TestDirtySetLetsGo: the map that a burst has grown does not stay.
func TestDirtySetLetsGo(t *testing.T) {
	d := newDirtySet()
	for i := range 16*batchKeys + 1 {
		d.add(fmt.Sprint(i), time.Unix(1, 0))
	}
	for d.len() > 0 {
		d.settle(len(d.take(batchKeys)))
	}
	require.Zero(t, d.peak)
	require.True(t, d.oldest().IsZero())
}

// TestDirtyKeyIsACopy: a record's own key would keep the record's text alive.
func TestDirtyKeyIsACopy(t *testing.T) {
	text := strings.Clone("key and fields")
	key := text[:3]
	d := newDirtySet()
	d.add(key, time.Unix(1, 0))
	for kept, e := range d.entries {
		require.NotSame(t, unsafe.StringData(key), unsafe.StringData(kept))
		require.NotSame(t, unsafe.StringData(key), unsafe.StringData(e.key))
	}
	require.Len(t, d.entries, 1)
}
