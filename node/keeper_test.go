package node

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// A copy that should be elsewhere is dropped only after all that should have
// it have confirmed it.
func TestHandOverKeepsWhatNobodyHasConfirmed(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.Copies = 1 })
	b := up("b", 1)
	v := n.see(t, b)
	p := ownedBy(t, v, "b")
	key := keyIn(p)
	n.store.Open(p)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)
	n.store.Close(p)
	require.Equal(t, []int{p}, n.keeper.held(v))
	require.ErrorIs(t, n.keeper.handOver(t.Context()), mesh.ErrNoLink)
	require.Equal(t, 1, n.store.Count(p))
	require.Equal(t, DrainStatus{Partitions: 1, Unsynced: 1}, n.drainStatus())

	require.False(t, n.owner.dropIf(p, n.store.Digest(p)+1), "something has arrived meanwhile")
	require.Equal(t, 1, n.store.Count(p))
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.id})
	require.False(t, n.owner.dropIf(p, n.store.Digest(p)), "it is served here again")
	n.stand(p, ownership.Away, ownership.Claim{Epoch: 1, By: n.id})
	require.True(t, n.owner.dropIf(p, n.store.Digest(p)))
	require.Zero(t, n.store.Count(p))
}

func TestHandOverHasNothingToDoWithWhatBelongsHere(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	v := n.see(t, up("b", 1)) // with two copies both hold everything
	p := ownedBy(t, v, "b")
	n.store.Open(p)
	_, err := n.store.Do(putOf(keyIn(p)))
	require.NoError(t, err)
	require.Empty(t, n.keeper.held(v))
	require.NoError(t, n.keeper.handOver(t.Context()))
	require.Equal(t, 1, n.store.Count(p))
}

// The account of who has a copy ends with whatever may have made it wrong.
func TestAccountOfCopiesStartsAnew(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 1)
	v := n.see(t, b)
	p := ownedBy(t, v, "a")
	account := func() bool { return n.keeper.isSynced(b.String(), p) }

	n.keeper.setSynced(b.String(), p)
	require.True(t, account())
	n.keeper.claimed(p, nil)
	require.False(t, account(), "a new claim, whose holders differ")
	n.keeper.claimed(p, []string{b.String()})
	require.True(t, account())
	n.keeper.forget(b.String())
	require.False(t, account(), "its stream of changes was interrupted")

	n.keeper.setSynced(b.String(), p)
	without := n.see(t, c)
	n.keeper.viewChanged(without)
	n.see(t, b)
	require.False(t, account(), "it was no holder for a while")
	n.keeper.setSynced(c.String(), p)
	require.False(t, n.keeper.isSynced(c.String(), p), "no holder now")
}

// keyIn is a key of partition p.
func keyIn(p int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint("key-", i); ring.Partition(key) == p {
			return key
		}
	}
}
