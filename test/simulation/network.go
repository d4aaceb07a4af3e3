package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// defaultDelay is what everything takes from one host to another. It is
	// never 0, so that what happens on two hosts at one instant is apart.
	defaultDelay = 200 * time.Microsecond
	// backlog is how many connections a listener holds that nobody has
	// accepted; with more, dials wait as when their SYNs are dropped.
	backlog = 128
	// keepAlive is after how long a cut ends a connection that has nothing
	// under way: Go's default of 15 s idle, and three of node's probes
	// 5 s apart.
	keepAlive = 30 * time.Second
)

// Path says how one host reaches another, one way.
type Path struct {
	// Cut drops packets and holds up connections. Refused answers what is
	// dialled with a refusal at once, where a mere cut is silent.
	Cut, Refused bool
	// Delay is added to everything; each packet also gets up to Jitter more,
	// so that packets overtake each other.
	Delay, Jitter time.Duration
	// Loss and Duplicate are the shares of packets that are lost, and that
	// arrive twice. Connections lose nothing.
	Loss, Duplicate float64
}

// Network connects the hosts of one test. Its lock guards everything that
// connections, listeners and paths consist of, and is never held while waiting.
type Network struct {
	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	hosts   map[netip.Addr]*Process // what runs there now
	paths   map[route]*Path
	ports   map[portRoute]PortFault
	streams map[*stream]struct{} // every direction of every connection
	wake    chan struct{}        // closed and replaced when paths or processes change
}

type route struct{ from, to netip.Addr }

// PortFault is what a firewall on the way to one port does with SYNs, while
// everything else passes.
type PortFault byte

const (
	// PortOpen lets them through.
	PortOpen PortFault = iota
	// PortDrops drops them, so that a dial is silent.
	PortDrops
	// PortRefuses answers them with a refusal, which looks as if no process
	// listened there.
	PortRefuses
)

type portRoute struct {
	from netip.Addr
	to   netip.AddrPort
}

// NewNetwork returns a network without hosts.
func NewNetwork(random *rand.Rand) *Network {
	return &Network{
		random: random, hosts: make(map[netip.Addr]*Process), paths: make(map[route]*Path), ports: make(map[portRoute]PortFault),
		streams: make(map[*stream]struct{}), wake: make(chan struct{}),
	}
}

// Change changes the path from one host to another.
func (n *Network) Change(from, to netip.Addr, change func(*Path)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	path := n.pathLocked(from, to)
	was := *path
	change(path)
	switch {
	case *path == was:
		return
	case !was.Cut && path.Cut:
		n.cutLocked(from, to)
	case was.Cut && !path.Cut:
		n.healLocked(from, to)
	}
	n.wakeAllLocked()
}

func (n *Network) pathLocked(from, to netip.Addr) *Path {
	path := n.paths[route{from, to}]
	if path == nil {
		path = &Path{Delay: defaultDelay}
		n.paths[route{from, to}] = path
	}
	return path
}

// cutLocked notes when the streams of a path were cut, and sees to the
// connections that keep-alives would end. A probe needs both ways.
func (n *Network) cutLocked(from, to netip.Addr) {
	now := time.Now()
	for s := range n.streams {
		if s.from.host == from && s.to.host == to {
			s.cutAt = now
		}
	}
	time.AfterFunc(keepAlive, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for s := range n.streams {
			if s.from.host == from && s.to.host == to && s.cutAt.Equal(now) && len(s.chunks) == 0 && len(s.back.chunks) == 0 {
				s.breakLocked(syscall.ETIMEDOUT)
				s.back.breakLocked(syscall.ETIMEDOUT)
			}
		}
	})
}

// healLocked lets the streams of a path go on. What was under way waits for
// TCP's next attempt, whose pauses double while nothing gets through.
func (n *Network) healLocked(from, to netip.Addr) {
	for s := range n.streams {
		if s.from.host != from || s.to.host != to || s.cutAt.IsZero() {
			continue
		}
		if cut := time.Since(s.cutAt); len(s.chunks) > 0 && cut > 0 {
			s.stalledUntil = time.Now().Add(rand.N(cut))
		}
		s.cutAt = time.Time{}
	}
}

// SetPort changes what becomes of SYNs from one host to a port of another.
// Connections that are there already stay.
func (n *Network) SetPort(from netip.Addr, to netip.AddrPort, fault PortFault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[portRoute{from, to}] == fault {
		return
	}
	n.ports[portRoute{from, to}] = fault
	n.wakeAllLocked()
}

// Stall lets nothing more through on the newest connection from one host to a
// port of another, as where a firewall has forgotten it: one way, or both. The
// others between the two go on. It says whether there is one.
func (n *Network) Stall(from netip.Addr, to netip.AddrPort, both bool, d time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	var newest *stream
	for s := range n.streams {
		if s.from.host == from && s.there == to && (newest == nil || newest.here.Compare(s.here) < 0) {
			newest = s
		}
	}
	if newest == nil {
		return false
	}
	newest.back.stalledUntil = time.Now().Add(d) // its answers
	if both {
		newest.stalledUntil = time.Now().Add(d)
	}
	return true
}

// Reset breaks the connections between two hosts.
func (n *Network) Reset(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.streams {
		if s.from.host == a && s.to.host == b || s.from.host == b && s.to.host == a {
			s.breakLocked(syscall.ECONNRESET)
		}
	}
}

func (n *Network) wakeAllLocked() {
	close(n.wake)
	n.wake = make(chan struct{})
	for s := range n.streams {
		s.wakeLocked()
	}
}

// Boot starts a process on a host, instead of the one that ran there, which
// must have crashed.
func (n *Network) Boot(host netip.Addr) *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &Process{net: n, host: host, listeners: make(map[netip.AddrPort]*listener)}
	p.ctx, p.end = context.WithCancel(context.Background())
	n.hosts[host] = p
	return p
}

// Process is one boot of one host: its sockets, and whether it runs. It
// implements node.Network.
type Process struct {
	net  *Network
	host netip.Addr
	ctx  context.Context // ends with Crash
	end  context.CancelFunc

	paused atomic.Bool // written under net.mu

	// Guarded by net.mu.
	crashed   bool
	listeners map[netip.AddrPort]*listener
	gossip    *transport
	ports     uint16        // the last port given to a dialing connection
	resumed   chan struct{} // closed when the pause ends; nil when there is none
}

// Crash ends the process as a SIGKILL does: its ports refuse, and its
// connections are closed, or reset where something that had arrived was not
// read.
func (p *Process) Crash() {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.crashed {
		return
	}
	p.crashed = true
	p.resumeLocked()
	p.end()
	for _, l := range p.listeners {
		l.closeLocked()
	}
	for s := range n.streams {
		switch p {
		case s.from:
			s.crashLocked()
		case s.to:
			delete(n.streams, s) // nobody reads it any more
			s.wakeLocked()
		}
	}
	n.wakeAllLocked()
}

// Pause stops the process as SIGSTOP does: what it calls waits, and its host
// goes on taking connections and data for it, as far as the buffers reach.
func (p *Process) Pause() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.crashed || p.resumed != nil {
		return
	}
	p.paused.Store(true)
	p.resumed = make(chan struct{})
}

// Resume ends a pause.
func (p *Process) Resume() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.resumeLocked()
}

func (p *Process) resumeLocked() {
	if p.resumed == nil {
		return
	}
	p.paused.Store(false)
	close(p.resumed)
	p.resumed = nil
	if p.gossip != nil && !p.crashed {
		p.gossip.resumeLocked()
	}
	p.net.wakeAllLocked()
}

// Paused says whether the process stands still.
func (p *Process) Paused() bool { return p.paused.Load() }

// Context ends when the process crashes.
func (p *Process) Context() context.Context { return p.ctx }

// AwaitResume returns when the process is not paused, at once if it is not.
func (p *Process) AwaitResume() {
	for p.paused.Load() {
		p.net.mu.Lock()
		resumed := p.resumed
		p.net.mu.Unlock()
		if resumed != nil {
			<-resumed
		}
	}
}

// Listen implements node.Network.
func (p *Process) Listen(_ context.Context, address string) (net.Listener, error) {
	return p.listen(address)
}

func (p *Process) listen(address string) (*listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	switch {
	case p.crashed:
		return nil, errEnded
	case at.Addr() != p.host:
		return nil, fmt.Errorf("listen %s: %w", address, syscall.EADDRNOTAVAIL)
	case p.listeners[at] != nil:
		return nil, fmt.Errorf("listen %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{process: p, at: at, conns: make(chan *conn, backlog), closed: make(chan struct{})}
	p.listeners[at] = l
	return l, nil
}

var errEnded = errors.New("this process has ended")

// Dial implements node.Network.
func (p *Process) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	c, err := p.dial(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return c, nil
}

func (p *Process) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	for {
		p.AwaitResume()
		p.net.mu.Lock()
		wake := p.net.wake
		there, back := *p.net.pathLocked(p.host, to.Addr()), *p.net.pathLocked(to.Addr(), p.host)
		fault := p.net.ports[portRoute{p.host, to}]
		p.net.mu.Unlock()
		if fault == PortRefuses || there.Refused || back.Refused {
			return nil, syscall.ECONNREFUSED
		}
		retry := time.Second // SYNs are sent again
		if !there.Cut && !back.Cut && fault != PortDrops {
			if err := sleep(ctx, p.ctx.Done(), there.Delay); err != nil {
				return nil, err
			}
			c, err := p.connect(to)
			if !errors.Is(err, errBacklog) {
				if late := sleep(ctx, p.ctx.Done(), back.Delay); late != nil {
					if c != nil {
						c.Close()
					}
					return nil, late
				}
				if err != nil {
					return nil, err
				}
				return c, nil
			}
		}
		select {
		case <-wake:
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.ctx.Done():
			return nil, errEnded
		}
	}
}

func sleep(ctx context.Context, dead <-chan struct{}, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-dead:
		return errEnded
	}
}

var errBacklog = errors.New("the listener's backlog is full")

// connect makes a connection to what listens at an address now.
func (p *Process) connect(to netip.AddrPort) (*conn, error) {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.crashed {
		return nil, errEnded
	}
	q := n.hosts[to.Addr()]
	if q == nil || q.crashed || q.listeners[to] == nil {
		return nil, syscall.ECONNREFUSED
	}
	p.ports++
	here := netip.AddrPortFrom(p.host, 32768+p.ports%28232)
	near, far := n.pairLocked(p, q, here, to)
	select {
	case q.listeners[to].conns <- far:
		return near, nil
	default:
		near.dropLocked()
		return nil, errBacklog
	}
}

// Gossip implements node.Network.
func (p *Process) Gossip(address string) (memberlist.Transport, error) {
	return newTransport(p, address)
}

// listener implements net.Listener.
type listener struct {
	process *Process
	at      netip.AddrPort
	conns   chan *conn // what nobody has accepted
	closed  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case c := <-l.conns:
		l.process.AwaitResume()
		return c, nil
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.process.net.mu.Lock()
	defer l.process.net.mu.Unlock()
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.process.listeners[l.at] != l {
		return
	}
	delete(l.process.listeners, l.at)
	close(l.closed)
	for {
		select {
		case c := <-l.conns:
			c.out.resetLocked()
			c.dropLocked()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }
