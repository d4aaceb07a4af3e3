package explore

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// standing is what one member knows of whether another runs.
type standing uint8

const (
	unknown standing = iota
	up
	dead    // found by gossip: it may be frozen, or cut off
	refused // its process has ended
	left    // it said good-bye
)

var standings = []string{"unknown", "up", "dead", "refused", "left"}

func (s standing) String() string { return standings[s] }

// sight is what one member knows of another, by gossip.
type sight struct {
	boot     uint8
	state    member.State
	standing standing
}

func (s sight) String() string {
	switch s.standing {
	case unknown:
		return "unknown"
	case up:
		return s.state.String()
	default:
		return s.standing.String()
	}
}

// views computes the views that follow from sights. A ring takes long to
// compute, so it remembers them.
type views struct {
	cfg   Config
	known map[viewKey]*member.View
	rings map[uint8]*member.View // one view for each set of ready members
	table ownership.Table        // for one that is given to a Core
}

type viewKey struct {
	self int
	sees [maxMembers]sight
}

// placing gives partition 0 to amy if she is there, with its copy at bob, by
// any ring of these names: the scenarios tell of those two.
var placing = ring.Params{VirtualNodes: 100, Load: 1.25}

func newViews(cfg Config) *views {
	return &views{cfg: cfg, known: make(map[viewKey]*member.View), rings: make(map[uint8]*member.View)}
}

func (v *views) of(self int, sees [maxMembers]sight) *member.View {
	key := viewKey{self, sees}
	if view := v.known[key]; view != nil {
		return view
	}
	var members []*member.Member
	ready := uint8(0)
	for j, s := range sees {
		if s.standing == unknown {
			continue
		}
		m := &member.Member{
			ID: ids[j][s.boot], Meta: member.Meta{Role: member.RoleNode, State: s.state, Peer: Names[j]}, Up: s.standing == up,
			Gone: s.standing > up, Ended: s.standing == refused, Left: s.standing == left,
		}
		if m.Serves() {
			ready |= 1 << j
		}
		members = append(members, m)
	}
	view, err := member.NewView(ids[self][sees[self].boot], members, placing, v.rings[ready])
	if err != nil {
		panic(err) // the names are ours
	}
	v.known[key] = view
	if v.rings[ready] == nil {
		v.rings[ready] = view
	}
	return view
}

// look gives a process the view that follows from what it sees.
func (w *World) look(p *proc) {
	p.sees[p.name] = sight{p.boot, p.state, up}
	view := w.views.of(int(p.name), p.sees)
	if view == p.core.View() {
		return
	}
	w.do(p, p.core.SetView(w.now, view))
	w.copyAgain(p)
}

// See makes a member see another as given, true or not.
func (w *World) See(i, x int, s sight) error {
	if !w.procs[i].running() || i == x {
		return w.not("%s sees %s", Names[i], Names[x])
	}
	p := w.edit(i)
	p.sees[x] = s
	w.look(p)
	if s.standing == unknown {
		w.sayf("%s does not know %s", Names[i], Names[x])
	} else {
		w.sayf("%s sees %s %v", Names[i], who{uint8(x), s.boot}, s)
	}
	return nil
}

// news is what a member may learn of another at this moment; ok is false if
// there is nothing new.
func (w *World) news(i, x int) (s sight, ok bool) {
	p, q, old := w.procs[i], w.procs[x], w.procs[i].sees[x]
	if i == x || !p.running() || q.boot == 0 {
		return old, false
	}
	s = old
	reached := w.reach(i)&(1<<x) != 0
	switch {
	case q.running() && reached:
		s = sight{q.boot, q.state, up}
	case q.up:
		if old.standing == up && w.silentFor(q, reached) >= w.cfg.Gossip {
			s.standing = dead
		}
	case q.left && reached:
		s.standing = left
	case w.linked(i, x):
		s.standing = refused // whoever dials finds nobody
	case old.standing == up:
		s.standing = dead
	}
	if old.standing == unknown && s.standing != up {
		return old, false
	}
	if old.standing == refused && s.standing == dead {
		return old, false
	}
	return s, s != old
}

// silentFor is how long gossip has heard nothing of a process.
func (w *World) silentFor(q *proc, reached bool) (d time.Duration) {
	if q.frozen {
		d = w.now - q.stopped
	}
	if !reached {
		d = max(d, w.now-w.stalledAt)
	}
	return d
}

// Learn tells a member what there is to know of another.
func (w *World) Learn(i, x int) error {
	s, ok := w.news(i, x)
	if !ok {
		return w.not("%s learns of %s", Names[i], Names[x])
	}
	return w.See(i, x, s)
}

// missing are the members that a process, or one that it talks to, holds for
// dead: the members tell each other.
func (w *World) missing(p *proc) (all []ownership.Missing) {
	for x := range p.sees {
		for _, j := range w.members() {
			s := w.procs[j].sees[x]
			if s.standing == dead && (j == int(p.name) || w.talks(int(p.name), j) && p.sees[j].standing == up) {
				all = append(all, ownership.Missing{ID: who{uint8(x), s.boot}.id(), Since: w.now})
				break
			}
		}
	}
	return all
}

// admits says whether a member lets a boot speak to it: it knows it, and not to
// have ended.
func (p *proc) admits(x who) bool {
	s := p.sees[x.name]
	return s.boot == x.boot && (s.standing == up || s.standing == dead)
}

// holders are the members that should have a copy, as a process sees it.
func (p *proc) holders(part int) []int { return indexes(p.core.View().CopyHolders(part)) }

// takers are those that must have what a process holds before it forgets it.
func (p *proc) takers(part int) []int { return indexes(p.core.Gate().Takers(part)) }

func indexes(ids []string) (all []int) {
	for _, s := range ids {
		all = append(all, int(s[0]-'a'))
	}
	slices.Sort(all)
	return all
}
