// Package timekeeper keeps a member whose clock is wrong from serving.
//
// Sessions end at a time of day, and of two writes at the two sides of a cut
// the later one wins: so all who serve must agree about the time. Each
// heartbeat brings what the clock of another member's host says. The keeper
// compares a few times a second. Small differences are the business of NTP;
// where this host's clock has jumped, the member goes on by its monotonic clock,
// and follows only what the others confirm ([clock.Wall]). Where the member's
// time is still off the median of all who serve, it owns nothing until that has
// passed.
package timekeeper

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

const (
	// every is how often clocks are compared.
	every = 200 * time.Millisecond
	// offFor is how long a member that serves must have been off: one reading
	// may have been spoilt by a process that stood still.
	offFor = time.Second
	// backWithin is how close it must be to be fit again.
	backWithin = clock.Near / 2
)

// Config is what a Keeper needs. All of it is required.
type Config struct {
	Wall *clock.Wall
	// Others returns how far the clocks of the other nodes' hosts are ahead of
	// this member's time, and whether these nodes serve: if some do, the others
	// are not among them.
	Others func() (ahead []time.Duration, serving bool)
	// Serves says whether this member serves, or would if it were fit.
	Serves func() bool
	// Tell says why this member's time is wrong, or "" if it is right, at each
	// look.
	Tell func(why string) error

	Log      *slog.Logger
	Events   *events.Log
	Counters *metric.Set
}

// Keeper looks after the time of one member.
type Keeper struct {
	cfg   Config
	jumps *metric.Counter
	// off and host are as in clock.Standing, at the last look.
	off, host atomic.Int64

	turn     chan struct{} // has a place for one look at a time, which uses what follows
	began    time.Time     // with its monotonic reading
	wrong    bool          // this member has told that its time is wrong
	offSince time.Duration // since began; 0 for not
	jumped   bool          // the host's clock has, and is not followed
}

// New returns a Keeper that has not looked yet.
func New(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, turn: make(chan struct{}, 1), began: time.Now()}
	k.jumps = cfg.Counters.Counter("clock_jumps", "Times that the host's clock was found to have jumped.")
	return k
}

// Off is how far this member's time was ahead of the median of all at the last
// look, and Host how far the host's clock was ahead of that time.
func (k *Keeper) Off() time.Duration  { return time.Duration(k.off.Load()) }
func (k *Keeper) Host() time.Duration { return time.Duration(k.host.Load()) }

// Run looks again and again until ctx ends.
func (k *Keeper) Run(ctx context.Context) { wait.Every(ctx, every, k.Look) }

// Look compares the clocks, and tells the others what is new, which may take as
// long as Config.Tell does.
func (k *Keeper) Look() {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	others, serving := k.cfg.Others()
	serves := k.cfg.Serves() && !k.wrong // one that started with a wrong clock has not begun to
	if serves && !serving {
		others = nil // they are to follow this one, however many they are
	}
	s := k.cfg.Wall.Keep(others, serves || !serving)
	k.off.Store(int64(s.Off))
	k.host.Store(int64(s.Host))
	k.noteJump(s)
	was := k.wrong
	k.judge(s.Off, serves)
	k.tell(s.Off, k.wrong != was)
}

// judge decides whether this member's time is wrong.
func (k *Keeper) judge(off time.Duration, serves bool) {
	now := max(time.Since(k.began), 1)
	switch {
	case planted.Is(planted.WrongClockServes):
	case k.wrong:
		k.wrong = off.Abs() > backWithin
	case off.Abs() <= clock.Near:
		k.offSince = 0
	case k.offSince == 0 && serves:
		k.offSince = now
	case !serves || now-k.offSince >= offFor:
		k.wrong, k.offSince = true, 0
	}
}

// tell tells whether the time is wrong, and logs it where that is news.
func (k *Keeper) tell(off time.Duration, news bool) {
	why := ""
	if k.wrong {
		way := "ahead of"
		if off < 0 {
			way = "behind"
		}
		why = fmt.Sprintf("the clock is %v %s those of the other members, %v at most is accepted", off.Abs().Round(time.Millisecond), way, clock.Near)
	}
	switch {
	case news && k.wrong:
		k.cfg.Log.Error("this member owns nothing", "why", why)
		k.cfg.Events.Add("clock-wrong", "why", why)
	case news:
		k.cfg.Log.Info("the clock is right again")
		k.cfg.Events.Add("clock-right")
	}
	if err := k.cfg.Tell(why); err != nil && news {
		k.cfg.Log.Error("tell the others whether the clock is right", "error", err)
	}
}

// noteJump says so when the host's clock jumps, once.
func (k *Keeper) noteJump(s clock.Standing) {
	began := s.Host != 0 && !k.jumped
	if began || s.Set != 0 && !k.jumped {
		k.jumps.Add(1)
	}
	k.jumped = s.Host != 0
	switch {
	case s.Set != 0:
		k.cfg.Log.Warn("followed a jump of the host's clock", "by", s.Set.Round(time.Millisecond))
		k.cfg.Events.Add("clock-set", "ms", s.Set.Milliseconds())
	case began:
		k.cfg.Log.Warn("the host's clock jumped, and is not followed: no other member's says the same", "by", s.Host.Round(time.Millisecond))
		k.cfg.Events.Add("clock-jumped", "ms", s.Host.Milliseconds())
	}
}
