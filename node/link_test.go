package node

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/peer"
)

// gatedNetwork holds dials back once it is shut: the first until first is
// closed, later ones until later is.
type gatedNetwork struct {
	hostNetwork
	shut         atomic.Bool
	held         atomic.Int32
	first, later chan struct{}
}

func (g *gatedNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	if g.shut.Load() {
		gate := g.later
		if g.held.Add(1) == 1 {
			gate = g.first
		}
		<-gate
	}
	return g.hostNetwork.Dial(ctx, address)
}

// A bulk connection that comes up when its link has gone down belongs to
// nobody, and is closed.
func TestBulkConnectionOfALinkThatIsDown(t *testing.T) {
	t.Parallel()
	gate := &gatedNetwork{first: make(chan struct{}), later: make(chan struct{})}
	ada := begin(t, loopbackConfig("ada"))
	cfg := loopbackConfig("bob", ada)
	cfg.Network = gate
	bob := begin(t, cfg)
	open := sync.OnceFunc(func() { close(gate.later) })
	defer open() // or bob could not stop
	agree(t, ada, bob)

	l := bob.linkTo(ada.id)
	l.mu.Lock()
	if l.bulk != nil { // what the join has left
		l.bulk.Close()
	}
	l.bulk = nil
	l.mu.Unlock()
	gate.shut.Store(true)
	type result struct {
		link *peer.Link
		err  error
	}
	got := make(chan result, 1)
	go func() {
		bulk, err := l.connectBulk(context.Background())
		got <- result{bulk, err}
	}()
	eventually(t, "the bulk connection is being dialled", func() bool { return gate.held.Load() == 1 })
	l.disconnect()
	close(gate.first)
	r := <-got
	require.ErrorIs(t, r.err, errNoLink)
	require.Nil(t, r.link)
	l.mu.Lock()
	require.Nil(t, l.bulk)
	l.mu.Unlock()
	open()
	agree(t, ada, bob)
}
