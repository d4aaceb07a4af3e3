package clock

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Near is how far off a clock may be that counts as right. It bounds how far the
// time of a member that serves is off the median of all, so two of them differ
// by twice that at most, which is session.Lead.
const Near = 950 * time.Millisecond

// aloneFollows is for how long the host's clock must have stayed where it
// jumped to before a member that nobody can confirm it to goes by it. A clock
// that is wrong for a moment would end every session.
const aloneFollows = 5 * time.Minute

// Wall is the time of day as a member goes by it: the host's clock, unless that
// jumps. A clock that was set by an hour would end sessions before their time,
// and a later clock's writes would win over those of all others. So a jump is
// followed only if the other members say that the host is right now, and was
// wrong before: see [Wall.Keep]. Until then time goes on by the monotonic clock.
type Wall struct {
	host   func() time.Time
	began  time.Time    // with its monotonic reading
	base   atomic.Int64 // what it was then by the clock that this member goes by, unix ns
	native bool         // host is time.Now

	mu     sync.Mutex    // guards what follows; one Keep at a time
	jumped time.Duration // since the start, when the host's clock was first seen to have jumped; 0 if it has not
}

// NewWall returns the time of a process that starts now. host is the host's
// clock; nil for time.Now.
func NewWall(host func() time.Time) *Wall {
	w := &Wall{host: host, native: host == nil, began: time.Now()}
	if w.native {
		w.host = time.Now
	}
	w.base.Store(w.host().UnixNano())
	return w
}

// Now is the time of day. It is read from the monotonic clock, which costs half
// of what both clocks do, and has the host's drift since the last [Wall.Keep]
// in it. A clock that was injected is asked each time.
func (w *Wall) Now() time.Time {
	if w.native && !planted.Is(planted.JumpFollowed) {
		return time.Unix(0, w.base.Load()+int64(time.Since(w.began)))
	}
	t, ahead := w.read()
	if ahead.Abs() <= Near || planted.Is(planted.JumpFollowed) {
		return t
	}
	return t.Add(-ahead).Round(0)
}

// Host is how far the host's clock is ahead of Now: 0, but for a jump that is
// not followed.
func (w *Wall) Host() time.Duration {
	if _, ahead := w.read(); ahead.Abs() > Near {
		return ahead
	}
	return 0
}

// read returns the host's time, and how far that is ahead of what it should be.
func (w *Wall) read() (t time.Time, ahead time.Duration) {
	t = w.host()
	return t, time.Duration(t.UnixNano()-w.base.Load()) - time.Since(w.began)
}

// Standing is how a member's time compares with that of the others.
type Standing struct {
	// Off is how far Now is ahead of the median of the hosts' clocks.
	Off time.Duration
	// Host is as [Wall.Host].
	Host time.Duration
	// Set is by how much Now has been set, because the host's clock jumped and
	// was right to.
	Set time.Duration
}

// Keep looks after the time; it is to be called every few hundred milliseconds.
// It takes in what the host's clock has drifted, and follows a jump of it that
// brings it closer to the others'. others are how far the hosts' clocks of the
// other members are ahead of Now. Where as many say one thing as another, this
// member's host counts if trusted, and otherwise theirs do.
func (w *Wall) Keep(others []time.Duration, trusted bool) (s Standing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, host := w.read()
	off := median(slices.Clone(others), host, trusted)
	drift := host.Abs() <= Near
	if drift || w.confirmed(host, off, len(others)) {
		w.base.Add(int64(host))
		w.jumped = 0
		off -= host
		if !drift {
			s.Set = host
		}
	} else {
		s.Host = host
		if len(others) == 0 {
			off = 0
		}
	}
	s.Off = -off
	return s
}

// confirmed says whether the host's clock is to be followed, which jumped to so
// far ahead of Now, where the median of all is off.
func (w *Wall) confirmed(host, off time.Duration, others int) bool {
	now := time.Since(w.began)
	if w.jumped == 0 {
		w.jumped = max(now, 1)
	}
	if others == 0 {
		return now-w.jumped >= aloneFollows
	}
	return (host - off).Abs() < off.Abs()
}

// median returns the middle of what the others say and this host does; of two,
// the one that is closer to 0 if trusted, and otherwise what the others say.
func median(all []time.Duration, host time.Duration, trusted bool) time.Duration {
	if trusted || len(all)%2 == 0 {
		all = append(all, host)
	}
	slices.Sort(all)
	a, b := all[(len(all)-1)/2], all[len(all)/2]
	if a.Abs() <= b.Abs() {
		return a
	}
	return b
}
