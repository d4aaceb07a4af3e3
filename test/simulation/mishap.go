package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// mishap is a sort of fault that can happen while others last. It takes back
// nothing but what it has done itself.
type mishap struct {
	name     string
	min, max time.Duration
	deaths   int  // processes that it ends, with what they hold
	process  bool // it does something to the host's process, as nothing else may meanwhile
	play     func(p *player, h, other *Host, m Mishap)
}

// player plays the mishaps of one run.
type player struct {
	c *Cluster

	mu   sync.Mutex // guards busy
	busy map[*Host]bool
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

var mishaps = []mishap{
	{"restart", 0, 0, 1, true, func(p *player, h, _ *Host, _ Mishap) {
		h.Kill()
		p.start(h)
	}},
	{"crash", ms(200), 9 * time.Second, 1, true, func(p *player, h, _ *Host, m Mishap) {
		p.kill(h)
		time.Sleep(m.For)
		p.start(h)
	}},
	{"flap", ms(100), time.Second, 3, true, func(p *player, h, _ *Host, m Mishap) {
		for range 3 {
			h.Kill()
			p.start(h)
			time.Sleep(m.For)
		}
	}},
	{"vanish", ms(200), 9 * time.Second, 1, true, func(p *player, h, _ *Host, m Mishap) {
		end := p.c.impair(isolation(h, false))
		p.kill(h)
		time.Sleep(m.For)
		end()
		p.start(h)
	}},
	// Its process is started anew while it reaches nobody: it must not serve.
	{"lonely start", ms(500), 9 * time.Second, 1, true, func(p *player, h, _ *Host, m Mishap) {
		end := p.c.isolate(h, refuses(m))
		time.Sleep(m.For / 4)
		h.Kill()
		p.start(h)
		time.Sleep(m.For)
		end()
	}},
	{"freeze and crash", ms(200), 5 * time.Second, 1, true, func(p *player, h, _ *Host, m Mishap) {
		p.pause(h)
		time.Sleep(m.For)
		h.Kill()
		p.start(h)
	}},
	{"pause", ms(100), 6 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		p.pause(h)
		time.Sleep(m.For)
		p.resume(h)
	}},
	{"stop", ms(500), 6 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		h.PauseInside()
		p.c.noteReach()
		time.Sleep(m.For)
		p.resume(h)
	}},
	{"freeze", ms(100), 6 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		p.pause(h)
		end := p.c.impair(isolation(h, false))
		time.Sleep(m.For)
		end()
		p.resume(h)
	}},
	{"drain", 0, 4 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		p.drain(h)
		time.Sleep(m.For)
		p.start(h)
	}},
	{"join", ms(500), 8 * time.Second, 0, false, func(p *player, _, _ *Host, m Mishap) {
		h := p.c.Hosts[len(p.c.Hosts)-1-int(m.Draw%spares)]
		if !p.take(h) {
			return
		}
		defer p.leave(h)
		p.start(h)
		time.Sleep(m.For)
		p.drain(h)
	}},

	{"reset", 0, ms(100), 0, false, func(p *player, h, other *Host, m Mishap) {
		for range 10 {
			p.c.Net.Reset(h.Address, other.Address)
			time.Sleep(m.For)
		}
	}},
	{"lossy", 2 * time.Second, 9 * time.Second, 0, false, func(p *player, _, _ *Host, m Mishap) {
		p.during(m.For, &impairment{path: func(_, _ *Host, path *Path) { path.Loss, path.Duplicate, path.Jitter = 0.2, 0.1, ms(20) }})
	}},
	{"slow", 2 * time.Second, 9 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		p.during(m.For, &impairment{path: func(a, b *Host, path *Path) {
			if a == h || b == h {
				path.Delay = max(path.Delay, ms(20))
			}
		}})
	}},
	// No packet arrives, at one host or at all, while connections live.
	{"no packets", time.Second, 9 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		p.during(m.For, &impairment{path: func(a, b *Host, path *Path) {
			if m.Draw&1 == 0 || a == h || b == h {
				path.Loss = 1
			}
		}})
	}},
	{"stall", time.Second, 9 * time.Second, 0, false, func(p *player, h, other *Host, m Mishap) {
		end := p.c.impair(&impairment{}) // which says that something is wrong
		p.c.Net.Stall(h.Address, netip.AddrPortFrom(other.Address, peerPort), m.Draw&1 == 0, m.For)
		time.Sleep(m.For)
		end()
	}},
	{"peer port", time.Second, 9 * time.Second, 0, false, func(p *player, h, other *Host, m Mishap) {
		p.port(peerPort, h, other, m)
	}},
	{"gossip port", time.Second, 9 * time.Second, 0, false, func(p *player, h, other *Host, m Mishap) {
		p.port(gossipPort, h, other, m)
	}},
	{"blocked host", time.Second, 9 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		p.port(peerPort, nil, h, m)
	}},

	{"isolate", ms(500), 20 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		end := p.c.isolate(h, refuses(m))
		time.Sleep(m.For)
		end()
	}},
	{"halves", ms(500), 20 * time.Second, 0, false, func(p *player, _, _ *Host, m Mishap) {
		side := func(h *Host) bool { return m.Draw>>(8+(h.Address.As4()[3]))&1 == 0 }
		p.cut(m, func(a, b *Host) bool { return side(a) != side(b) })
	}},
	{"cut link", ms(500), 20 * time.Second, 0, false, func(p *player, h, other *Host, m Mishap) {
		p.cut(m, func(a, b *Host) bool { return a == h && b == other || a == other && b == h })
	}},
	{"cut one way", ms(500), 15 * time.Second, 0, false, func(p *player, h, other *Host, m Mishap) {
		p.during(m.For, &impairment{path: func(a, b *Host, path *Path) { path.Cut = path.Cut || a == h && b == other }})
	}},

	// Within what is accepted.
	{"clock", time.Second, 4 * time.Second, 0, false, func(_ *player, h, _ *Host, m Mishap) {
		if h.astray.Load() {
			return
		}
		h.Skew(ms(900))
		time.Sleep(m.For)
		h.Skew(ms(-900))
		time.Sleep(m.For)
		h.Skew(0)
	}},
	{"clock jump", time.Second, 9 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		if !p.take(nil) { // one at a time, for two might be most
			return
		}
		defer p.leave(nil)
		by := []time.Duration{2 * time.Second, 5 * time.Second, time.Minute, time.Hour, 365 * 24 * time.Hour}[m.Draw>>1%5]
		if m.Draw&1 == 0 {
			by = -by
		}
		h.astray.Store(true)
		h.Skew(by)
		time.Sleep(m.For)
		h.Skew(0)
		h.astray.Store(false)
		p.c.noteReach()
	}},
}

// routerMishaps are those of routers. What happens to paths and to all hosts
// happens to theirs too.
var routerMishaps = []mishap{
	{"router restart", 0, 3 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		p.kill(h)
		time.Sleep(m.For)
		p.start(h)
	}},
	{"router pause", ms(100), 4 * time.Second, 0, true, func(p *player, h, _ *Host, m Mishap) {
		p.pause(h)
		time.Sleep(m.For)
		p.resume(h)
	}},
	{"router cut off", ms(100), 6 * time.Second, 0, false, func(p *player, h, _ *Host, m Mishap) {
		end := p.c.isolate(h, refuses(m))
		time.Sleep(m.For)
		end()
	}},
}

// take says whether a host's process is free for a mishap, and takes it. No
// host at all stands for the clocks.
func (p *player) take(h *Host) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[h] {
		return false
	}
	p.busy[h] = true
	return true
}

func (p *player) leave(h *Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, h)
}

func (p *player) kill(h *Host) {
	h.Kill()
	p.c.noteReach()
}

func (p *player) pause(h *Host) {
	h.Pause()
	p.c.noteReach()
}

func (p *player) resume(h *Host) {
	h.Resume()
	p.c.noteReach()
}

// start starts a node. One whose clock is behind what it was when its disk was
// written does not start: who runs it tries again, until the clock is right.
func (p *player) start(h *Host) {
	err := h.Start()
	for errors.Is(err, session.ErrFuture) && h.offset.Load() < 0 {
		time.Sleep(time.Second)
		err = h.Start()
	}
	if err != nil {
		p.c.history.Break("%v", err)
	}
	p.c.noteReach()
}

// drainWithin is how long a node may take to hand over before it is killed.
const drainWithin = 20 * time.Second

func (p *player) drain(h *Host) {
	ctx, cancel := context.WithTimeout(p.c.t.Context(), drainWithin)
	defer cancel()
	p.c.noteReach()
	if err := h.Drain(ctx); err != nil {
		p.c.history.fault("not drained", h.Name, err.Error())
	}
	p.c.noteReach()
}

func (p *player) during(d time.Duration, i *impairment) {
	end := p.c.impair(i)
	time.Sleep(d)
	end()
}

// isolation cuts a host off.
func isolation(h *Host, refused bool) *impairment {
	return &impairment{cut: true, path: func(a, b *Host, path *Path) {
		if a == h || b == h {
			path.Cut, path.Refused = true, path.Refused || refused
		}
	}}
}

// isolate cuts a host off. With refused its connections break at once.
func (c *Cluster) isolate(h *Host, refused bool) (end func()) {
	end = c.impair(isolation(h, refused))
	for _, other := range c.others(h) {
		if refused {
			c.Net.Reset(h.Address, other.Address)
		}
	}
	return end
}

// refuses says whether a cut refuses what is dialled through it, and breaks the
// connections that there are, rather than being silent.
func refuses(m Mishap) bool { return m.Draw&1 == 0 }

// cut cuts what is between hosts, both ways: silently, or by refusing.
func (p *player) cut(m Mishap, between func(a, b *Host) bool) {
	refused := refuses(m)
	end := p.c.impair(&impairment{cut: true, path: func(a, b *Host, path *Path) {
		if between(a, b) {
			path.Cut, path.Refused = true, path.Refused || refused
		}
	}})
	for _, a := range p.c.all() {
		for _, b := range p.c.all() {
			if refused && between(a, b) {
				p.c.Net.Reset(a.Address, b.Address)
			}
		}
	}
	time.Sleep(m.For)
	end()
}

// port closes a port of a host to another one, or to all (nil).
func (p *player) port(port int, from, to *Host, m Mishap) {
	fault := PortDrops
	if m.Draw&1 == 0 {
		fault = PortRefuses
	}
	matches := func(a, b *Host) bool { return b == to && (from == nil || a == from) }
	end := p.c.impair(&impairment{port: func(a, b *Host, at int) PortFault {
		if at == port && matches(a, b) {
			return fault
		}
		return PortOpen
	}})
	for _, a := range p.c.Hosts {
		if m.Draw&2 == 0 && a != to && matches(a, to) { // those that there are break too
			p.c.Net.Reset(a.Address, to.Address)
		}
	}
	time.Sleep(m.For)
	end()
}

// PlaySwarm plays rounds of mishaps, each followed by peace, in which the
// cluster has to become whole again.
func (c *Cluster) PlaySwarm(rounds [][]Mishap) {
	p := &player{c: c, busy: make(map[*Host]bool)}
	for i, round := range rounds {
		began := c.Elapsed()
		var playing sync.WaitGroup
		for _, m := range round {
			playing.Go(func() {
				time.Sleep(m.At + rand.N(time.Microsecond))
				p.play(m)
			})
		}
		playing.Wait()
		c.noteChange()
		c.history.disturb(began, c.Elapsed())
		time.Sleep(peace)
		if err := c.AwaitSettled(recoverWithin); err != nil {
			c.history.Break("recovery after round %d: %v", i+1, err)
			return
		}
		c.history.met()
		c.noteWhole()
	}
}

func (p *player) play(m Mishap) {
	hosts, k := p.c.Hosts, mishapOf(m.What)
	if m.ofRouter() {
		hosts = p.c.Routers
	}
	h, other := hosts[m.Host], hosts[m.Other]
	if k.process {
		if !p.take(h) {
			return
		}
		defer p.leave(h)
	}
	if k.deaths > 0 && p.c.history.majority && !p.c.outlivedBy(h) {
		p.c.history.fault("spared", h.Name, m.String())
		return
	}
	p.c.history.noteStep(m.What)
	p.c.history.fault("begin", h.Name, m.String())
	p.c.noteChange()
	k.play(p, h, other, m)
	p.c.noteChange()
	p.c.history.fault("end", h.Name, m.String())
}
