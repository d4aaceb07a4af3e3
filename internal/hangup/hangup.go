// Package hangup tells whether the other end of a connection has gone, without
// a read: a server that works for a client, and reads nothing meanwhile, learns
// by it that the client waits no more.
package hangup

import (
	"net"
	"syscall"
)

// Detector looks at one connection. It is for one goroutine at a time. Its zero
// value sees every connection as open.
type Detector struct {
	raw    syscall.RawConn
	gone   bool
	lookAt func(fd uintptr) // made once, for it would be garbage at each look
}

// New returns a Detector of conn, or of the connection that it wraps
// (NetConn). What is no socket is seen as open.
func New(conn net.Conn) *Detector {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err != nil {
				return &Detector{}
			}
			d := &Detector{raw: raw}
			d.lookAt = func(fd uintptr) { d.gone = goneAt(fd) }
			return d
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return &Detector{}
		}
		conn = wrapper.NetConn()
	}
}

// Gone reports whether the other end has closed the connection, or its half of
// it, or the connection has broken. It does not wait.
func (d *Detector) Gone() bool {
	if d.raw == nil {
		return false
	}
	// Control and not Read, which would wait for the goroutine that is reading
	// now. It fails if the connection has been closed here.
	err := d.raw.Control(d.lookAt)
	return d.gone || err != nil
}
