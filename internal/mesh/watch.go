package mesh

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// A refused dial does not say that the peer's process has ended: a firewall may
// refuse for it, and break the connections that there were. So each link has a
// third connection, on which neither side says a word once both have said who
// they are. When a process dies, its kernel closes what it had open, in order
// (a FIN) where nothing is left unread, and on this connection there never is
// anything. Firewalls answer what is sent, and here nothing is. That this
// connection was closed in order, and then a dial was refused, is how a crash
// looks and nothing else does.
//
// A connection that nobody uses may be forgotten by what it passes through. Then
// a crash is known by silence, after a second, like the end of a host.

// closedLately is how recently the watched connection must have been closed for
// a refused dial to say that the process has ended.
const closedLately = time.Second

// watch keeps that connection up until ctx ends.
func (l *Link) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.up:
		case <-time.After(redialMax):
		}
		if !l.Connected() {
			continue
		}
		conn, err := l.connect(ctx, 0)
		if err != nil {
			continue // the main connection finds out why
		}
		l.closed.Store(0)
		select {
		case <-ctx.Done():
		case <-conn.Done():
			if errors.Is(conn.Err(), io.EOF) {
				l.closed.Store(int64(max(l.mesh.cfg.Clock.Since(), 1)))
			}
		}
		conn.Close()
	}
}

// hasClosed says whether the peer closed its side of the link a moment ago.
func (l *Link) hasClosed() bool {
	at := time.Duration(l.closed.Load())
	return at > 0 && l.mesh.cfg.Clock.Since()-at < closedLately || planted.Is(planted.RefusedIsEnded)
}

// spoke says whether anything was heard of the peer within the last second,
// that it has said or answered, by whatever way.
func (l *Link) spoke() bool {
	asked := time.Duration(l.asked.Load())
	return l.Reached() || asked > 0 && l.mesh.cfg.Clock.Since()-asked < lately
}
