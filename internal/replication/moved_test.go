package replication

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// leads returns where the old key of a rotation leads at a store.
func leads(t *testing.T, store *session.Store, key string) string {
	_, err := store.Get(key)
	require.ErrorIs(t, err, session.ErrDeleted)
	if moved, ok := errors.AsType[*session.MovedError](err); ok {
		return moved.To
	}
	return ""
}

// rotate moves a session to another key, and returns both.
func rotate(t *testing.T, store *session.Store) (was, is string) {
	both := keys(1, 2)
	was, is = both[0], both[1]
	put(t, store, was, "1")
	_, err := store.Do(&session.Op{Kind: session.Rotate, Key: was, NewKey: is})
	require.NoError(t, err)
	return was, is
}

// TestCopiesKnowWhereASessionWasMoved: by every way that a record goes, and no
// member of an older version is sent what it cannot read.
func TestCopiesKnowWhereASessionWasMoved(t *testing.T) {
	ways := map[string]func(t *testing.T, p *pair, was string) error{
		"sync there": func(t *testing.T, p *pair, _ string) error { return p.a.Sync(t.Context(), p.toB, 1) },
		"sync here":  func(t *testing.T, p *pair, _ string) error { return p.b.Sync(t.Context(), p.toA(), 1) },
		"offer":      func(t *testing.T, p *pair, _ string) error { return p.a.Offer(t.Context(), p.toB, 1) },
		"fetch":      func(t *testing.T, p *pair, _ string) error { return p.b.Fetch(t.Context(), p.toA(), 1) },
		"keys":       func(t *testing.T, p *pair, was string) error { return p.b.FetchKeys(t.Context(), p.toA(), 1, was) },
	}
	for name, way := range ways {
		for _, old := range []bool{false, true} {
			p := newPair(t)
			p.toB.old = old
			was, is := rotate(t, p.here)
			require.NoError(t, way(t, p, was), name)
			want := is
			if old {
				want = ""
			}
			require.Equal(t, want, leads(t, p.there, was), name)
			differ, err := p.a.Digests(t.Context(), p.toB, []int{1})
			require.NoError(t, err)
			require.Equal(t, name == "keys", slices.Contains(differ, 1), "%s: what only some know is no difference", name)
		}
	}
}

// toA is the way back, of the same version.
func (p *pair) toA() *memory {
	back := newMemory(p.a)
	back.old = p.toB.old
	return back
}

// TestStreamTellsWhereASessionWasMoved is the same for the stream of changes.
func TestStreamTellsWhereASessionWasMoved(t *testing.T) {
	for _, old := range []bool{false, true} {
		inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
			link := newHeld()
			r.Attach(t.Context(), "b", versioned{link, old})
			was, _ := rotate(t, store)
			r.Mark([]string{"b"}, was)
			frame := link.next(synctest.Wait)
			require.Equal(t, !old, frame.only(t).Leads())
			frame.reply(nil, nil)
		})
	}
}

// versioned is a Peer of some version.
type versioned struct {
	*held
	old bool
}

func (v versioned) ReadsMoved() bool { return !v.old }
