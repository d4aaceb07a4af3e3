package redis

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// firstDelay is how long the attempt after a first wrong password waits
	// before it is looked at. Each further one doubles it, up to lastDelay.
	firstDelay = 10 * time.Millisecond
	lastDelay  = time.Second
	// guessesAtOnce is how many attempts of one address wait at a time, so that
	// a program with a wrong password keeps its neighbours waiting for a moment
	// and not for ever. It is also how many an address can make a second.
	guessesAtOnce = 16
	// maxDelay is the longest wait of an attempt that has others of its address
	// before it: beyond it the attempt is refused unseen.
	maxDelay = 4 * time.Second
	// forgetGuesses is after how long without a wrong password an address is
	// forgotten, and maxGuessers how many are remembered.
	forgetGuesses = time.Minute
	maxGuessers   = 4096
)

// guesses slows those down who guess the password, by their address. An attempt
// waits before it is looked at, whether it is right or wrong, for otherwise
// whoever is kept waiting would know that it was wrong, and connect anew.
type guesses struct {
	mu       sync.Mutex // guards what follows
	guessers map[string]*list.Element
	order    list.List // of *guesser, by the last wrong password, newest first
}

type guesser struct {
	origin   string
	failures int
	last     time.Time // wrong password
	next     time.Time // no attempt is looked at before
}

// delay is what an attempt after so many wrong passwords waits.
func delay(failures int) time.Duration {
	d := firstDelay
	for ; failures > 1 && d < lastDelay; failures-- {
		d *= 2
	}
	return min(d, lastDelay)
}

// attempt returns for how long an attempt from an address has to wait, or false
// if too many are waiting already.
func (g *guesses) attempt(origin string, now time.Time) (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.guessers[origin]
	if e == nil {
		return 0, true
	}
	of := e.Value.(*guesser)
	if now.Sub(of.last) >= forgetGuesses {
		g.forgetLocked(e)
		return 0, true
	}
	d := delay(of.failures)
	at := now.Add(d)
	if of.next.After(at) {
		at = of.next
	}
	if wait = at.Sub(now); wait > maxDelay {
		return 0, false
	}
	of.next = at.Add(d / guessesAtOnce)
	return wait, true
}

// failed notes a wrong password.
func (g *guesses) failed(origin string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.guessers[origin]
	if e == nil {
		if g.guessers == nil {
			g.guessers = make(map[string]*list.Element)
		}
		if len(g.guessers) >= maxGuessers {
			g.forgetLocked(g.order.Back())
		}
		e = g.order.PushFront(&guesser{origin: origin})
		g.guessers[origin] = e
	}
	of := e.Value.(*guesser)
	of.failures++
	of.last = now
	g.order.MoveToFront(e)
}

// remembered forgets those that have been quiet, and returns how many are left
// and which of them failed last.
func (g *guesses) remembered(now time.Time) (addresses int, last string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.order.Back(); e != nil && now.Sub(e.Value.(*guesser).last) >= forgetGuesses; e = g.order.Back() {
		g.forgetLocked(e)
	}
	if e := g.order.Front(); e != nil {
		last = e.Value.(*guesser).origin
	}
	return len(g.guessers), last
}

func (g *guesses) forgetLocked(e *list.Element) {
	delete(g.guessers, e.Value.(*guesser).origin)
	g.order.Remove(e)
}

// unixOrigin stands for all programs on this host that come by a Unix socket.
const unixOrigin = "unix"

// origin is what the clients of one place have in common: an IPv4 address, the
// first 64 bits of an IPv6 address, for a host has all of the rest, or a Unix
// socket.
func origin(a net.Addr) string {
	if a.Network() == "unix" {
		return unixOrigin
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := at.Addr().Unmap()
	if ip.Is4() || ip.IsLoopback() {
		return ip.String()
	}
	net64, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return net64.String()
}
