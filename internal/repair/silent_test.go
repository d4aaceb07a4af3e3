package repair

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// The connection to one member passes nothing more. The copies of all others
// are made meanwhile, and what these alone should hold is handed over; the rest
// follows over a new connection.
func TestASilentMemberHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dialled := make(map[string]int)
		network := &meshtest.Network{Dialled: func(_, address string, c net.Conn) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled[address]++
			f := &meshtest.Forgetful{Conn: c}
			if address == "b:83" && dialled[address] == 3 { // the one for bulk transfers, after the one that is watched
				time.AfterFunc(time.Millisecond, func() { f.Forgot.Store(true) })
			}
			return f, nil
		}}
		a := beginIn(t, network, "a", 0)
		for _, name := range []string{"b", "c", "d"} {
			beginIn(t, network, name, 0)
		}
		view := a.see(t, membertest.Up("b", 1), membertest.Up("c", 1), membertest.Up("d", 1))
		a.mesh.Sync(view)
		meshtest.Eventually(t, "the links are up", func() bool {
			up := 0
			for _, l := range a.mesh.Links() {
				if l.Connected() {
					up++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			return up == 3 && dialled["b:83"] == 2
		})
		// The connection for bulk transfers to b, before it is forgotten.
		_, err := a.cfg.Replicator.Digests(t.Context(), a.mesh.Link(membertest.ID("b", 1)).Bulk(), []int{0})
		require.NoError(t, err)
		time.Sleep(time.Second)

		handed := -1 // should be at c and d alone
		for p := range ring.Partitions {
			a.cfg.Store.Open(p)
			_, err := a.cfg.Store.Do(putOf(membertest.KeyIn(p)))
			require.NoError(t, err)
			holders := view.Table.Holders(p)
			switch {
			case holders[0] == "a":
				a.owner.Look(func(core *ownership.Core, _ time.Duration) {
					core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: a.cfg.Self}, false)
				})
			case handed < 0 && !slices.Contains(holders, "a") && !slices.Contains(holders, "b"):
				handed = p
				a.cfg.Store.Close(p)
			default:
				a.cfg.Store.Close(p)
				a.cfg.Store.Drop(p)
			}
			if p > 200 && handed >= 0 {
				break
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { a.Run(ctx) })
		defer running.Wait()
		defer stop()
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"b"}, a.Behind(), "who has not all copies, while one comparison hangs")
		require.Zero(t, a.cfg.Store.Count(handed), "what has nothing to do with it is handed over")
		require.Empty(t, a.Unconfirmed())
		time.Sleep(5 * time.Second)
		require.Empty(t, a.Behind())
	})
}
