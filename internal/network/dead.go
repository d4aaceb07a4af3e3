package network

import (
	"net"
	"time"
)

// keepAlive finds the dead end of an idle connection within half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// userTimeout is for how long what was sent to another member may be
// unacknowledged, where the system can be told (Linux; others try for many
// minutes). Keep-alive does not look at a connection with data under way: one
// that a firewall or an address translation has forgotten would be tried for a
// quarter of an hour. It is as long as peer.Config.WriteTimeout, and longer
// than what looks at a connection before it: heartbeats for 2 s at the main
// connection of a link, and answers for 4 s at the one for bulk transfers. So
// it ends what these miss: the accepting side, which asks nothing.
const userTimeout = 10 * time.Second

// FindDead has the system end a connection between members whose other end is
// silent. It does nothing for one that is not of the host's TCP.
func FindDead(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	// Neither fails but for a connection that is closed already, whose use
	// tells.
	_ = tcp.SetKeepAliveConfig(keepAlive)
	_ = setUserTimeout(tcp, userTimeout)
}

// Listener is one of members' connections: they are told to find their dead
// ends.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		FindDead(c)
	}
	return c, err
}
