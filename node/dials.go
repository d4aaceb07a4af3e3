package node

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// dials makes the connections on which requests are passed on, and breaks
// those to a member that takes part no more. A process that is frozen, or a
// host that is cut off, never breaks a connection itself; its kernel even takes
// new ones. Breaking them here sends the requests on them to the successor.
type dials struct {
	node *Node

	mu    sync.Mutex // guards conns
	conns map[string]map[*trackedConn]struct{}
}

func newDials(n *Node) *dials {
	return &dials{node: n, conns: make(map[string]map[*trackedConn]struct{})}
}

// dial connects to the public address of a member. An address that only
// belongs to members that are gone is refused here, as its host would if the
// process had ended.
func (d *dials) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if d.node.View().Lost(address) {
		return nil, fmt.Errorf("member at %s takes part no more: %w", address, syscall.ECONNREFUSED)
	}
	conn, err := d.node.cfg.Network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, dials: d, address: address}
	d.mu.Lock()
	if d.conns[address] == nil {
		d.conns[address] = make(map[*trackedConn]struct{})
	}
	d.conns[address][c] = struct{}{}
	d.mu.Unlock()
	if d.node.View().Lost(address) { // between the look and the note
		c.Close()
		return nil, fmt.Errorf("member at %s takes part no more: %w", address, syscall.ECONNREFUSED)
	}
	return c, nil
}

func (d *dials) viewChanged(view *View) {
	var broken []*trackedConn
	d.mu.Lock()
	for address := range view.LostAddresses() {
		for c := range d.conns[address] {
			broken = append(broken, c)
		}
	}
	d.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

type trackedConn struct {
	net.Conn
	dials   *dials
	address string
	once    sync.Once
}

// NetConn lets whoever has the connection look at the socket below it.
func (c *trackedConn) NetConn() net.Conn { return c.Conn }

func (c *trackedConn) Close() error {
	c.once.Do(func() {
		d := c.dials
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns[c.address], c)
		if len(d.conns[c.address]) == 0 {
			delete(d.conns, c.address)
		}
	})
	return c.Conn.Close()
}
