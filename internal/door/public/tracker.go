package public

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// tracker makes the connections on which requests are passed on, and breaks
// those to a member that has ended or is held for dead. A process that is
// frozen, or a host that is cut off, never breaks a connection itself; its
// kernel even takes new ones. Breaking them here sends the requests on them to
// the successor.
type tracker struct {
	open func(ctx context.Context, address string) (net.Conn, error)
	view func() *member.View

	mu    sync.Mutex // guards conns
	conns map[string]map[*trackedConn]struct{}
}

// newTracker returns a tracker of connections that open makes to the public
// addresses of members. view returns who takes part now.
func newTracker(open func(ctx context.Context, address string) (net.Conn, error), view func() *member.View) *tracker {
	return &tracker{open: open, view: view, conns: make(map[string]map[*trackedConn]struct{})}
}

// dial connects to the public address of a member. An address that only
// belongs to members that are gone is refused here, as its host would if the
// process had ended.
func (t *tracker) dial(ctx context.Context, address string) (net.Conn, error) {
	if t.view().Lost(address) {
		return nil, lost(address)
	}
	conn, err := t.open(ctx, address)
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, tracker: t, address: address}
	t.mu.Lock()
	if t.conns[address] == nil {
		t.conns[address] = make(map[*trackedConn]struct{})
	}
	t.conns[address][c] = struct{}{}
	t.mu.Unlock()
	if t.view().Lost(address) { // between the look and the note
		c.Close()
		return nil, lost(address)
	}
	return c, nil
}

func lost(address string) error {
	return fmt.Errorf("member at %s takes part no more: %w", address, syscall.ECONNREFUSED)
}

// setView breaks the connections to members that are gone by view.
func (t *tracker) setView(view *member.View) {
	var broken []*trackedConn
	t.mu.Lock()
	for address := range view.LostAddresses() {
		for c := range t.conns[address] {
			broken = append(broken, c)
		}
	}
	t.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

type trackedConn struct {
	net.Conn
	tracker *tracker
	address string
	once    sync.Once
}

// NetConn lets a user of the connection look at the socket below it.
func (c *trackedConn) NetConn() net.Conn { return c.Conn }

func (c *trackedConn) Close() error {
	c.once.Do(func() {
		t := c.tracker
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.conns[c.address], c)
		if len(t.conns[c.address]) == 0 {
			delete(t.conns, c.address)
		}
	})
	return c.Conn.Close()
}
