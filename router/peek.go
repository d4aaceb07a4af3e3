package router

import (
	"net"
	"syscall"
)

// sight is what can be seen of a connection without reading from it.
type sight int8

const (
	quiet   sight = iota // open, and nothing has come; or it cannot be looked at
	talking              // something has come
	ended                // the other end has closed it, or it has broken
)

// peeker looks at a connection without taking anything from it and without
// waiting. Its zero value sees every connection as quiet.
type peeker struct {
	raw    syscall.RawConn
	gone   func() bool // of a connection that is no socket, and can tell
	result *sight
	peek   func(fd uintptr) // made once; a closure at each look would be garbage at each request
}

// newPeeker returns a peeker at conn, or at the connection that it wraps.
func newPeeker(conn net.Conn) peeker {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err != nil {
				return peeker{}
			}
			result := new(sight)
			return peeker{raw: raw, result: result, peek: func(fd uintptr) { *result = peekAt(fd) }}
		}
		if own, ok := conn.(interface{ Gone() bool }); ok {
			return peeker{gone: own.Gone}
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return peeker{}
		}
		conn = wrapper.NetConn()
	}
}

func (p *peeker) look() sight {
	switch {
	case p.gone != nil && p.gone():
		return ended
	case p.raw == nil:
		return quiet
	}
	*p.result = ended
	// Control and not Read, which would wait for the goroutine that is reading
	// now.
	if err := p.raw.Control(p.peek); err != nil {
		return ended
	}
	return *p.result
}
