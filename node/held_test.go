package node

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// hold keeps partition p of n's store busy, as a slow operation does, until the
// function that it returns is called or the test ends.
func (n *Node) hold(t testing.TB, p int) (release func()) {
	t.Helper()
	held, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.store.Hold(p, func() { // its error is that p is not open, and then held says so
			close(held)
			<-end
		})
	}()
	select {
	case <-held:
	case <-ended:
		t.Fatalf("%s does not serve partition %d", n.id.Name, p)
	}
	done := false
	release = func() {
		if !done {
			done = true
			close(end)
			<-ended
		}
	}
	t.Cleanup(release)
	return release
}

// While an operation holds one partition, a member joins, claims what the ring
// gives it, and all but that partition go on: nobody waits for it with what the
// others need, be it the lock of ownership, a link or a queue of copies.
func TestOnePartitionThatIsHeldHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	before := ada.View().Table
	after, err := ring.New([]string{"ada", "bob", "cyd"}, ada.cfg.ringParams())
	require.NoError(t, err)
	var moves, keys []int // partitions that pass from ada to cyd; some of each owner
	for p := range ring.Partitions {
		if before.Owner(p) == "ada" && after.Owner(p) == "cyd" {
			moves = append(moves, p)
		}
		if p%64 == 0 {
			keys = append(keys, p)
		}
	}
	require.NotEmpty(t, moves)
	held := moves[0]
	put(t, ada, membertest.KeyIn(held), "old")
	release := ada.hold(t, held)
	// Copies that bob has to get, of the held partition and of others.
	ada.replicator.Mark(ada.View().CopyHolders(held), membertest.KeyIn(held))

	cyd := begin(t, loopbackConfig("cyd", ada))
	nodes := []*Node{ada, bob, cyd}
	eventually(t, "all partitions but one are warm by the new ring", func() bool {
		for p := range ring.Partitions {
			owner := map[string]*Node{"ada": ada, "bob": bob, "cyd": cyd}[after.Owner(p)]
			if p != held && owner.owner.Gate().Phase(p) != ownership.Warm {
				return false
			}
		}
		return true
	})
	require.NotEqual(t, ownership.Warm, cyd.owner.Gate().Phase(held), "what runs in it may still write")
	for _, n := range nodes {
		for _, p := range keys {
			if p != held {
				put(t, n, membertest.KeyIn(p), n.id.Name) // every copy confirms
			}
		}
		eventually(t, n.id.Name+"'s heartbeats are answered", n.owner.Leased)
	}
	require.Positive(t, ada.counts.Values()["claims_busy"])

	release()
	agree(t, nodes...)
	resp, v := get(t, bob, membertest.KeyIn(held))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "old", v)
	require.Equal(t, "cyd", resp.Header.Get("Holdfast-Node"))
}
