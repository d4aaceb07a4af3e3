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

// gatedNetwork holds dials to one address back: the first until first is closed,
// later ones until later is.
type gatedNetwork struct {
	hostNetwork
	shut         atomic.Value // of string, the address
	held         atomic.Int32
	first, later chan struct{}
}

func (g *gatedNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	if g.shut.Load() == address {
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
	gate.shut.Store(l.addr)
	eventually(t, "none is left or under way from before", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.bulkDialing != nil && gate.held.Load() == 0 {
			return false
		}
		if l.bulk != nil {
			l.bulk.Close()
		}
		l.bulk = nil
		return true
	})
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
