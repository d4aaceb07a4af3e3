package peer

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// debt is what the peer of a link owes: an answer to each request, also to one
// whose caller has left. It is what tells a connection that is dead from one
// that is idle.
type debt struct {
	mu    sync.Mutex // guards the fields below
	owed  int        // requests that are not answered
	bytes int        // of the requests since anything was heard
	since time.Time  // when anything was last heard, or the first one of owed was made
}

// incur notes a request.
func (d *debt) incur(size int) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owed == 0 {
		d.bytes, d.since = 0, time.Now()
	}
	d.owed++
	d.bytes += size
}

// settle notes an answer, or that a request was not sent.
func (d *debt) settle() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owed--
}

// heard notes that something has arrived: part of an answer, maybe.
func (d *debt) heard() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes, d.since = 0, time.Now()
}

// stalled returns for how long nothing was heard of what is owed, where that is
// too long for what was asked.
func (d *debt) stalled(patience time.Duration) (silent time.Duration, yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owed == 0 {
		return 0, false
	}
	silent = time.Since(d.since)
	return silent, silent > patience+time.Duration(d.bytes)*time.Second/slowest
}

// hearing is a connection that notes what arrives.
type hearing struct {
	net.Conn
	debt *debt
}

func (h hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if n > 0 {
		h.debt.heard()
	}
	return n, err
}

// watch ends the link when it has stalled.
func (l *Link) watch() {
	tick := time.NewTicker(l.cfg.StallTimeout / 8)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
			if silent, yes := l.debt.stalled(l.cfg.StallTimeout); yes {
				l.end(fmt.Errorf("%w: %w for %v", ErrClosed, ErrStalled, silent.Round(time.Millisecond)))
				return
			}
		}
	}
}
