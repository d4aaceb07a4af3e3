package node

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// Nobody may ever serve by a claim that was agreed to: its maker can have died,
// or never have been a member. Whoever the ring names claims it anew.
func TestWhatWasGivenUpToNobodyIsClaimedAnew(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	put(t, ada, "alice", "here")
	fp := ada.View().Table.Fingerprint()
	var parts []int
	for p := range ring.Partitions {
		parts = append(parts, p)
	}
	claims := func(from ID, epoch uint64) (accepted int) {
		for _, n := range []*Node{ada, bob} {
			j, err := n.owner.Judge(from, ownership.Request{Epoch: epoch, Ring: fp, Asked: []ID{ada.id, bob.id}, Parts: parts}.Encode())
			require.NoError(t, err)
			require.True(t, j.Sum(owner.Busy))
			answers, err := ownership.DecodeAnswers(j.Answer(), len(parts))
			require.NoError(t, err)
			for _, a := range answers {
				if a.Status.Agrees() {
					accepted++
				}
			}
		}
		return accepted
	}
	require.Positive(t, claims(ID{Name: "thief", Boot: "1"}, 5000), "this is what the peer port keeps strangers from")
	agree(t, ada, bob)
	// One that gossip may be about to tell of: until its promise has lapsed
	// nobody can know that it will never serve.
	require.Positive(t, claims(ID{Name: "bob", Boot: "ffffffffffff00000007"}, 1<<20))
	agree(t, ada, bob)
	require.Zero(t, claims(ID{Name: "thief", Boot: "1"}, 1<<63), "far above all that is known")
	agree(t, ada, bob)
	resp, v := get(t, bob, "alice")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "here", v)
}
