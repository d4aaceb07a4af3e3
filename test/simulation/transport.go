package simulation

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// packetsQueued is how many packets wait for a process that reads none, as
	// in a socket's buffer; more are dropped.
	packetsQueued = 256
)

// transport carries the gossip of one process. It implements
// memberlist.NodeAwareTransport.
type transport struct {
	process *Process
	at      netip.AddrPort
	listen  *listener
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	loop    sync.WaitGroup
	once    sync.Once

	// Guarded by the network's lock: what a paused process would have sent,
	// and what has come for it.
	outbox []parcel
	inbox  []*memberlist.Packet
}

type parcel struct {
	data []byte
	to   netip.AddrPort
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(p *Process, address string) (*transport, error) {
	l, err := p.listen(address)
	if err != nil {
		return nil, err
	}
	t := &transport{
		process: p, at: l.at, listen: l,
		packets: make(chan *memberlist.Packet, packetsQueued), streams: make(chan net.Conn), done: make(chan struct{}),
	}
	p.net.mu.Lock()
	p.gossip = t
	p.net.mu.Unlock()
	t.loop.Go(t.accept)
	return t, nil
}

func (t *transport) accept() {
	for {
		c, err := t.listen.Accept()
		if err != nil {
			return
		}
		select {
		case t.streams <- c:
		case <-t.done:
			c.Close()
			return
		}
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.at.Addr().AsSlice(), int(t.at.Port()), nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		close(t.done)
		t.listen.Close()
		t.loop.Wait()
	})
	return nil
}

// WriteTo implements memberlist.Transport. It never waits: packets may
// get lost.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return time.Time{}, err
	}
	n := t.process.net
	n.mu.Lock()
	defer n.mu.Unlock()
	t.sendLocked(parcel{append([]byte(nil), b...), to})
	return time.Now(), nil
}

func (t *transport) sendLocked(p parcel) {
	n := t.process.net
	switch {
	case t.process.crashed:
		return
	case t.process.resumed != nil:
		if len(t.outbox) < packetsQueued {
			t.outbox = append(t.outbox, p)
		}
		return
	}
	path := *n.pathLocked(t.at.Addr(), p.to.Addr())
	copies := 1
	if n.random.Float64() < path.Loss {
		copies--
	}
	if n.random.Float64() < path.Duplicate {
		copies++
	}
	if path.Cut {
		copies = 0
	}
	for range copies {
		delay := path.Delay
		if path.Jitter > 0 {
			delay += time.Duration(n.random.Int64N(int64(path.Jitter)))
		}
		time.AfterFunc(delay, func() { n.deliver(t.at, p) })
	}
}

// deliver brings a packet to the process that has its address now.
func (n *Network) deliver(from netip.AddrPort, p parcel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.hosts[p.to.Addr()]
	if q == nil || q.crashed || q.gossip == nil || q.gossip.at != p.to {
		return
	}
	packet := &memberlist.Packet{Buf: append([]byte(nil), p.data...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
	if q.resumed != nil {
		if len(q.gossip.inbox) < packetsQueued {
			q.gossip.inbox = append(q.gossip.inbox, packet)
		}
		return
	}
	q.gossip.takeLocked(packet)
}

func (t *transport) takeLocked(packet *memberlist.Packet) {
	select {
	case t.packets <- packet:
	default: // as a full socket drops it
	}
}

func (t *transport) resumeLocked() {
	out, in := t.outbox, t.inbox
	t.outbox, t.inbox = nil, nil
	for _, packet := range in {
		t.takeLocked(packet)
	}
	for _, p := range out {
		t.sendLocked(p)
	}
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.process.Dial(ctx, address)
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}
