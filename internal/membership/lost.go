package membership

import (
	"cmp"
	"slices"
	"time"
)

const (
	// rememberedPeers bounds the addresses that are remembered, seeds not
	// counted.
	rememberedPeers = 1024
	// forgetPeer is for how long an address is remembered that does not answer.
	// A member that was cut off for longer may have a session that was logged
	// out meanwhile, whose tombstone the others have forgotten (24 h). It drops
	// that where it knows of it (package absence), and need not come back by
	// itself. Whoever starts it anew, or knows of it, says -join.
	forgetPeer = 25 * time.Hour

	// An address is tried again after a tenth of the time for which it has not
	// answered, within these bounds: a process that was started anew is met
	// before it founds a cluster of its own, which takes FoundAfter, if it was
	// away for less than restartWithin; and the dead of a day cost little.
	rejoinFirst   = 100 * time.Millisecond
	rejoinRestart = 500 * time.Millisecond
	restartWithin = time.Minute
	rejoinSeed    = 3 * time.Second // at most, of seeds
	rejoinPeer    = time.Minute     // and of others
)

// lost says which addresses to contact, and when: those of seeds, for ever, and
// of members that were seen, while they do not answer. It is a pure table:
// times are those since the start of the process.
type lost struct {
	known map[string]*address
}

// address is one of gossip.
type address struct {
	seed   bool
	alive  bool
	since  time.Duration // it has not answered, if it is not alive
	next   time.Duration // when it is to be tried
	trying bool
}

func newLost(now time.Duration, seeds []string) *lost {
	l := &lost{known: make(map[string]*address)}
	for _, seed := range seeds {
		l.known[seed] = &address{seed: true, since: now, next: now + rejoinFirst}
	}
	return l
}

// see takes in the addresses of all members that gossip knows, and at which of
// them one takes part. What is not among them does not answer.
func (l *lost) see(now time.Duration, all map[string]bool) {
	for at, alive := range all {
		if l.known[at] == nil && l.room(alive) {
			l.known[at] = &address{alive: true}
		}
	}
	for at, a := range l.known {
		switch alive := all[at]; {
		case alive:
			a.alive = true
		case a.alive: // lost just now
			a.alive, a.since, a.next = false, now, now+rejoinFirst
		case !a.seed && now-a.since >= forgetPeer:
			delete(l.known, at)
		}
	}
}

// room says whether there is room for another address, and makes it for that of
// a member that takes part: the one goes that has not answered for longest.
func (l *lost) room(alive bool) bool {
	var oldest string
	peers := 0
	for at, a := range l.known {
		if a.seed {
			continue
		}
		peers++
		if !a.alive && (oldest == "" || cmp.Or(cmp.Compare(a.since, l.known[oldest].since), cmp.Compare(at, oldest)) < 0) {
			oldest = at
		}
	}
	switch {
	case peers < rememberedPeers:
		return true
	case !alive || oldest == "":
		return false
	}
	delete(l.known, oldest)
	return true
}

// due returns up to n addresses to try now, seeds first, and those for which it
// has been time for longest. Each is tried until tried is called.
func (l *lost) due(now time.Duration, n int) (due []string) {
	for at, a := range l.known {
		if a.waits() && a.next <= now {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, func(x, y string) int {
		a, b := l.known[x], l.known[y]
		switch {
		case a.seed != b.seed && a.seed:
			return -1
		case a.seed != b.seed:
			return 1
		}
		return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(x, y))
	})
	due = due[:min(n, len(due))]
	for _, at := range due {
		l.known[at].trying = true
	}
	return due
}

// waits says whether the address is to be tried when its time comes.
func (a *address) waits() bool { return !a.alive && !a.trying }

// next returns when an address is due, and false if none will be.
func (l *lost) next() (at time.Duration, ok bool) {
	for _, a := range l.known {
		if a.waits() && (!ok || a.next < at) {
			at, ok = a.next, true
		}
	}
	return at, ok
}

// tried says that an attempt has ended. The next one is due after a pause to
// which jitter, from 0 to 1, adds up to a half. One that was answered is not
// hurried: who takes part there is in the next view, or is this member under
// another name.
func (l *lost) tried(now time.Duration, at string, answered bool, jitter float64) {
	a := l.known[at]
	if a == nil {
		return // forgotten meanwhile
	}
	most := rejoinPeer
	if a.seed {
		most = rejoinSeed
	}
	pause := max((now-a.since)/10, rejoinFirst)
	switch {
	case answered:
		pause = rejoinSeed
	case now-a.since < restartWithin:
		pause = min(pause, rejoinRestart)
	}
	pause = min(pause, most)
	a.trying, a.next = false, now+pause+time.Duration(jitter*float64(pause)/2)
}
