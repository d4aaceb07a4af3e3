// Package admit bounds how many connections a listener has at a time: over all,
// so that the process keeps its memory and its file descriptors, and from one
// address, so that one client does not take the place of all others.
//
// One connection: Accept takes it from the listener below, looks where it has
// come from, and returns it if there is room for it; else it is closed at once.
// Its end gives its place to another.
package admit

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Gate counts the connections of one listener, or of several that share its
// bounds. It is safe for concurrent use.
type Gate struct {
	most, each int
	refused    func(from netip.Addr, full bool)

	full, greedy atomic.Int64

	mu   sync.Mutex // guards what follows
	open int
	from map[netip.Addr]int
}

// New returns a Gate for so many connections over all, and so many from each
// address. refused is told of each that was closed: full says that there was no
// room at all; otherwise its address has its share. It must not block.
func New(most, each int, refused func(from netip.Addr, full bool)) *Gate {
	return &Gate{most: most, each: each, refused: refused, from: make(map[netip.Addr]int)}
}

// Open returns how many connections there are.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Refused counts the connections closed because there were too many, and
// because there were too many from one address.
func (g *Gate) Refused() (full, greedy int64) { return g.full.Load(), g.greedy.Load() }

// Listener returns l behind the gate.
func (g *Gate) Listener(l net.Listener) net.Listener { return &listener{l, g} }

type listener struct {
	net.Listener
	gate *Gate
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.gate.Enter(c); ok {
			return &conn{Conn: c, leave: leave}, nil
		}
	}
}

// Enter lets a connection in, whose place leave gives back, or closes it. It is
// for a server that keeps its connections as they are; for others there is
// [Gate.Listener].
func (g *Gate) Enter(c net.Conn) (leave func(), ok bool) {
	from := addressOf(c)
	ok, full := g.enter(from)
	if ok {
		return sync.OnceFunc(func() { g.leave(from) }), true
	}
	_ = c.Close() // nothing was said on it
	if full {
		g.full.Add(1)
	} else {
		g.greedy.Add(1)
	}
	g.refused(from, full)
	return nil, false
}

// addressOf tells whose connection it is: an IPv4 address; of IPv6 a network of
// 64 bits, all of whose addresses one client has; or nothing for a Unix socket,
// whose clients cannot be told apart.
func addressOf(c net.Conn) netip.Addr {
	remote := c.RemoteAddr()
	if remote == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return a
}

func (g *Gate) enter(from netip.Addr) (ok, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open >= g.most:
		return false, true
	case from.IsValid() && g.from[from] >= g.each:
		return false, false
	}
	g.open++
	g.from[from]++
	return true, false
}

func (g *Gate) leave(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.from[from]--; g.from[from] == 0 {
		delete(g.from, from)
	}
}

type conn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// NetConn returns the connection itself, for callers that need more of it.
func (c *conn) NetConn() net.Conn { return c.Conn }
