package mesh_test

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

type echo struct{}

func (echo) Serve(r *peer.Request) { r.Reply(r.Payload) }

func nothing(*mesh.Mesh) []mesh.Section { return nil }

// A connection for bulk transfers that passes nothing more is given up within
// seconds, and the next transfer has a new one. The main one stays.
func TestSilentBulkConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var dialled []*meshtest.Forgetful
		network := meshtest.Network{Dialled: func(_, _ string, c net.Conn) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			f := &meshtest.Forgetful{Conn: c}
			dialled = append(dialled, f)
			return f, nil
		}}
		ada := meshtest.NewMembers(t, membertest.ID("ada", 1), meshtest.Params)
		bob := meshtest.NewMembers(t, membertest.ID("bob", 1), meshtest.Params)
		clk := clock.New(time.Now)
		network.Live(t, bob, clk, nothing, echo{})
		m := network.Live(t, ada, clk, nothing, echo{})
		m.Sync(ada.See(t, membertest.Up("bob", 1)))
		l := m.Link(bob.Self)
		meshtest.Eventually(t, "the link is up, with the connection that is watched", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return l.Connected() && len(dialled) == 2
		})
		_, err := l.Bulk().Call(t.Context(), mesh.TypeHolds, []byte("x"))
		require.NoError(t, err)
		require.Len(t, dialled, 3)
		dialled[2].Forgot.Store(true)

		begin := time.Now()
		_, err = l.Bulk().Call(t.Context(), mesh.TypeHolds, []byte("x"))
		require.ErrorIs(t, err, peer.ErrStalled)
		require.Less(t, time.Since(begin), 5*time.Second)
		answer, err := l.Bulk().Call(t.Context(), mesh.TypeHolds, []byte("x"))
		require.NoError(t, err)
		require.Equal(t, "x", string(answer))
		require.Len(t, dialled, 4, "the main connection is the first one still")
		require.True(t, l.Connected())
	})
}
