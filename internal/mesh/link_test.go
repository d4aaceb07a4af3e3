package mesh

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

// A bulk connection that comes up when its link has gone down belongs to
// nobody, and is closed.
func TestBulkConnectionOfALinkThatIsDown(t *testing.T) {
	t.Parallel()
	bob := begin(t, "bob", noSections)
	ada := begin(t, "ada", noSections, bob.listen(t))
	// Once it is shut, the first dial waits for one thing, and those of the
	// link's own loop for another.
	var shut atomic.Bool
	var held atomic.Int32
	first, later := make(chan struct{}), make(chan struct{})
	dial := ada.dial
	ada.dial = func(ctx context.Context, address string) (net.Conn, error) {
		if shut.Load() {
			gate := later
			if held.Add(1) == 1 {
				gate = first
			}
			<-gate
		}
		return dial(ctx, address)
	}
	ada.Sync(ada.members.view)
	l := ada.Link(bob.id)
	eventually(t, "the link is up", l.Connected)
	shut.Store(true)
	type result struct {
		link *peer.Link
		err  error
	}
	got := make(chan result, 1)
	go func() {
		bulk, err := l.connectBulk(context.Background())
		got <- result{bulk, err}
	}()
	eventually(t, "the bulk connection is being dialled", func() bool { return held.Load() == 1 })
	l.disconnect()
	close(first)
	r := <-got
	require.ErrorIs(t, r.err, ErrNoLink)
	require.Nil(t, r.link)
	close(later)
	eventually(t, "it comes up again", l.Connected)
}

// That a process has ended is known where it has closed its connections before
// its address refuses new ones, or where another process answers there. A
// refusal alone may be a firewall's.
func TestLinkFindsThatAProcessHasEnded(t *testing.T) {
	t.Parallel()
	bob := begin(t, "bob", noSections)
	other := bob.listen(t)
	other.ID = id("bill")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refuses := &member.Member{ID: id("cyd"), Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, Peer: l.Addr().String()}, Up: true}
	l.Close()
	dee := begin(t, "dee", noSections)
	ends := dee.listen(t)
	ada := begin(t, "ada", noSections, other, refuses, ends)
	ada.Sync(ada.members.view)
	says := func(of map[member.ID]string, who member.ID, why string) {
		eventually(t, why, func() bool {
			ada.members.mu.Lock()
			defer ada.members.mu.Unlock()
			return of[who] == why
		})
	}
	says(ada.members.gone, refuses.ID, "connection refused at "+refuses.Peer)
	says(ada.members.ended, other.ID, "the address answers as another process")
	eventually(t, "the third connection is up", func() bool {
		dee.gate.mu.Lock()
		defer dee.gate.mu.Unlock()
		return dee.gate.admitted == 2
	})
	dee.stop()
	says(ada.members.ended, ends.ID, "it closed its connections, and new ones are refused at "+ends.Peer)
	ada.members.mu.Lock()
	defer ada.members.mu.Unlock()
	require.NotContains(t, ada.members.ended, refuses.ID)
	require.NotContains(t, ada.members.gone, ends.ID)
}
